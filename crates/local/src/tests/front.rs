//! Real requests over the loopback, to workers that are servers in this process.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fakes::fleet;
use crate::fleet::{Fleet, WorkerId};
use crate::front::Front;

type ClientBody = UnsyncBoxBody<Bytes, Infallible>;

#[tokio::test]
async fn each_request_goes_to_the_ready_worker_with_the_fewest() {
    let mut house = House::new().await;
    let (a, b) = (house.worker("a").await, house.worker("b").await);
    let mut answers = JoinSet::new();
    for _ in 0..6 {
        let request = house.request("POST", "/wait", "audio").await;
        answers.spawn(request);
        let total = |a: &FakeWorker, b: &FakeWorker| *a.running.borrow() + *b.running.borrow();
        let before = total(&a, &b);
        let (mut at_a, mut at_b) = (a.running.subscribe(), b.running.subscribe());
        while total(&a, &b) == before {
            tokio::select! {
                changed = at_a.changed() => changed.unwrap(),
                changed = at_b.changed() => changed.unwrap(),
            }
        }
        assert!(a.running.borrow().abs_diff(*b.running.borrow()) <= 1);
    }
    assert_eq!((*a.running.borrow(), *b.running.borrow()), (3, 3));
    house.open();
    while let Some(answer) = answers.join_next().await {
        let (head, body) = answer.unwrap();
        assert_eq!((head.status, body["bytes"].as_u64()), (StatusCode::OK, Some(5)));
    }
    house.stop().await;
}

#[tokio::test]
async fn without_a_ready_worker_the_answer_says_when_to_try_again() {
    let mut house = House::new().await;
    let (head, body) = house.ask("POST", "/v1/audio/transcriptions").await;
    assert_eq!((head.status, &head.headers["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap()));
    let message = "no worker is ready: it may still load its model, try again in a moment";
    let error = json!({"message": message, "type": "server_error", "param": null, "code": "no_ready_worker"});
    assert_eq!(body, json!({"error": error}));
    assert_eq!(house.ask("GET", "/ready").await.0.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(house.ask("GET", "/health").await, house.ask("GET", "/health").await);
    let worker = house.worker("a").await;
    assert_eq!(house.ask("GET", "/ready").await.0.status, StatusCode::OK);
    house.fleet.set_ready(worker.id, false);
    // Metrics are answered while the model loads.
    assert_eq!(house.ask("GET", "/metrics").await.1["worker"], "a");
    house.stop().await;
}

#[tokio::test]
async fn refused_connection_goes_to_another_worker_and_nothing_is_lost() {
    let mut house = House::new().await;
    let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    house.add("gone", gone);
    let (head, body) = house.ask("POST", "/").await;
    assert_eq!((head.status, &body["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("worker_unreachable")));
    let _worker = house.worker("b").await;
    for _ in 0..4 {
        let (head, body) = house.ask("POST", "/").await;
        assert_eq!((head.status, &body["worker"]), (StatusCode::OK, &json!("b")));
    }
    assert!(house.fleet.snapshot().iter().all(|worker| worker.active == 0));
    house.stop().await;
}

#[tokio::test]
async fn worker_that_dies_with_a_request_does_not_kill_it_twice() {
    let mut house = House::new().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    house.add("dying", listener.local_addr().unwrap());
    let healthy = house.worker("b").await;
    // So that the request goes to the one that dies.
    let busy = house.fleet.acquire(&[house.fleet.snapshot()[0].id]).unwrap();
    house.tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut first = [0; 16];
        stream.read_exact(&mut first).await.unwrap();
    });
    let (head, body) = house.ask("POST", "/").await;
    assert_eq!((head.status, &body["error"]["code"]), (StatusCode::BAD_GATEWAY, &json!("worker_failed")));
    assert_eq!(*healthy.served.borrow(), 0);
    drop(busy);
    house.stop().await;
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let mut house = House::new().await;
    let _worker = house.worker("a").await;
    let (chunks, body) = mpsc::channel::<&'static str>(1);
    let body = futures_util::stream::unfold(body, |mut body| async move {
        let chunk = body.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(chunk))), body))
    });
    let mut client = house.connect().await;
    let request = Request::post("/echo").header("host", "x").body(StreamBody::new(body).boxed_unsync()).unwrap();
    let answer = client.send_request(request);
    chunks.send("one").await.unwrap();
    let mut answer = answer.await.unwrap();
    assert_eq!(answer.headers().get("transfer-encoding").unwrap(), "chunked");
    // Each piece comes back before the next one is sent: nothing is kept on the way.
    for next in ["two", "three", ""] {
        let piece = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(["one", "two", "three"].contains(&&*String::from_utf8(piece.to_vec()).unwrap()));
        if !next.is_empty() {
            chunks.send(next).await.unwrap();
        }
    }
    drop(chunks);
    assert!(answer.frame().await.is_none());
    house.stop().await;
}

#[tokio::test]
async fn client_that_hangs_up_ends_its_request_at_the_worker() {
    let mut house = House::new().await;
    let worker = house.worker("a").await;
    for path in ["/wait", "/endless"] {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi");
        stream.write_all(head.as_bytes()).await.unwrap();
        worker.running.subscribe().wait_for(|running| *running == 1).await.unwrap();
        if path == "/endless" {
            let mut first = [0; 64];
            assert!(stream.read(&mut first).await.unwrap() > 0);
        }
        drop(stream);
        worker.running.subscribe().wait_for(|running| *running == 0).await.unwrap();
    }
    house.fleet.idle(worker.id).await;
    house.stop().await;
}

#[tokio::test]
async fn headers_of_a_connection_stay_on_it() {
    let mut house = House::new().await;
    let _worker = house.worker("a").await;
    let mut client = house.connect().await;
    let request = Request::post("http://asr.example:80/headers?x=1")
        .header("connection", "keep-alive, x-private, host")
        .header("x-private", "secret")
        .header("te", "trailers")
        .header("proxy-authorization", "secret")
        .header("upgrade", "websocket")
        .header("authorization", "Bearer key")
        .header("x-forwarded-for", "10.0.0.1")
        .header("host", "other")
        .body(Full::new(Bytes::from("audio")).boxed_unsync())
        .unwrap();
    let (head, body) = read(client.send_request(request).await.unwrap()).await;
    assert_eq!(
        body["headers"],
        json!({
            "authorization": "Bearer key",
            "content-length": "5",
            "host": "asr.example:80",
            "x-forwarded-for": "10.0.0.1, 127.0.0.1",
        })
    );
    assert_eq!(body["path"], "/headers?x=1");
    // The worker asks to close its connection; the client keeps its own.
    assert!(!head.headers.contains_key("connection") && !head.headers.contains_key("keep-alive"));
    client.ready().await.unwrap();
    let again = Request::get("/").header("host", "x").body(Full::new(Bytes::new()).boxed_unsync()).unwrap();
    assert_eq!(read(client.send_request(again).await.unwrap()).await.0.status, StatusCode::OK);
    house.stop().await;
}

#[tokio::test]
async fn leaving_worker_gets_nothing_new_and_is_idle_when_its_requests_end() {
    let mut house = House::new().await;
    let a = house.worker("a").await;
    let request = house.request("POST", "/wait", "x").await;
    house.tasks.spawn(async move {
        assert_eq!(request.await.0.status, StatusCode::OK);
    });
    a.running.subscribe().wait_for(|running| *running == 1).await.unwrap();
    house.fleet.set_terminating(a.id);
    assert_eq!(house.ask("POST", "/").await.0.status, StatusCode::SERVICE_UNAVAILABLE);
    let _b = house.worker("b").await;
    assert_eq!(house.ask("POST", "/").await.1["worker"], "b");
    assert_eq!(house.ask("GET", "/metrics").await.1["worker"], "b");
    house.open();
    house.fleet.idle(a.id).await;
    assert_eq!(*a.running.borrow(), 0);
    house.stop().await;
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_waits_for_requests() {
    let mut house = House::new().await;
    let worker = house.worker("a").await;
    let idle = house.connect().await;
    let request = house.request("POST", "/wait", "x").await;
    let mut answer = JoinSet::new();
    answer.spawn(request);
    worker.running.subscribe().wait_for(|running| *running == 1).await.unwrap();
    house.shutdown.cancel();
    let mut idle = idle;
    // The idle connection is closed; the one with a request is not.
    while idle.ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
    house.open();
    assert_eq!(answer.join_next().await.unwrap().unwrap().0.status, StatusCode::OK);
    house.stop().await;
}

#[tokio::test]
async fn address_in_use_is_named() {
    let house = House::new().await;
    let error = Front::bind(house.address, Arc::clone(&house.fleet)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {}", house.address));
    assert!(std::error::Error::source(&error).is_some());
    house.stop().await;
}

/// A front with its clients and workers.
struct House {
    fleet: Arc<Fleet>,
    address: SocketAddr,
    shutdown: CancellationToken,
    front: JoinSet<()>,
    gate: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl House {
    async fn new() -> Self {
        let (fleet, _) = fleet();
        let front = Front::bind(SocketAddr::from(([127, 0, 0, 1], 0)), Arc::clone(&fleet)).await.unwrap();
        let address = front.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(front.run(shutdown.clone()));
        Self { fleet, address, shutdown, front: tasks, gate: Arc::new(Semaphore::new(0)), tasks: JoinSet::new() }
    }

    /// Lets every request to `/wait` go on.
    fn open(&self) {
        self.gate.add_permits(1_000);
    }

    fn add(&self, name: &str, address: SocketAddr) -> WorkerId {
        let id = self.fleet.add(name);
        self.fleet.set_address(id, address);
        self.fleet.set_ready(id, true);
        id
    }

    async fn worker(&mut self, name: &str) -> FakeWorker {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let id = self.add(name, listener.local_addr().unwrap());
        let worker =
            FakeWorker { id, running: watch::channel(0).0, served: watch::channel(0).0, name: name.to_owned() };
        let (serving, gate) = (worker.clone(), Arc::clone(&self.gate));
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (worker, gate) = (serving.clone(), Arc::clone(&gate));
                let service = service_fn(move |request| {
                    let (worker, gate) = (worker.clone(), Arc::clone(&gate));
                    async move { Ok::<_, Infallible>(worker.answer(request, &gate).await) }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                connections.spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        worker
    }

    async fn connect(&mut self) -> SendRequest<ClientBody> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn(async move {
            connection.await.ok();
        });
        sender
    }

    /// A request on its way; the future gives its answer.
    async fn request(
        &mut self,
        method: &str,
        path: &str,
        body: &'static str,
    ) -> impl Future<Output = (http::response::Parts, Value)> + use<> {
        let mut client = self.connect().await;
        let body = Full::new(Bytes::from(body)).boxed_unsync();
        let request = Request::builder().method(method).uri(path).header("host", "x").body(body).unwrap();
        async move { read(client.send_request(request).await.unwrap()).await }
    }

    async fn ask(&mut self, method: &str, path: &str) -> (ComparedParts, Value) {
        let (head, body) = self.request(method, path, "").await.await;
        let headers = head.headers.into_iter().filter_map(|(name, value)| Some((name?, value)));
        (ComparedParts { status: head.status, headers: headers.filter(|(name, _)| name != "date").collect() }, body)
    }

    async fn stop(mut self) {
        self.open();
        self.shutdown.cancel();
        self.front.join_next().await.unwrap().unwrap();
        while let Some(ended) = self.tasks.try_join_next() {
            ended.unwrap();
        }
    }
}

/// Head of an answer without what changes from one to the next.
#[derive(Debug, PartialEq)]
struct ComparedParts {
    status: StatusCode,
    headers: HeaderMap,
}

async fn read(answer: Response<Incoming>) -> (http::response::Parts, Value) {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// A server that says who it is.
#[derive(Clone)]
struct FakeWorker {
    id: WorkerId,
    name: String,
    /// Requests that it has.
    running: watch::Sender<usize>,
    /// Requests that it ever had.
    served: watch::Sender<usize>,
}

/// Counts a request until its answer, body and all, is gone.
struct Running(watch::Sender<usize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl FakeWorker {
    async fn answer(
        &self,
        request: Request<Incoming>,
        gate: &Semaphore,
    ) -> Response<UnsyncBoxBody<Bytes, hyper::Error>> {
        self.running.send_modify(|running| *running += 1);
        self.served.send_modify(|served| *served += 1);
        let running = Running(self.running.clone());
        let (head, body) = request.into_parts();
        if head.uri.path() == "/echo" {
            return Response::new(body.boxed_unsync());
        }
        if head.uri.path() == "/endless" {
            let running = Mutex::new(running);
            let pieces = futures_util::stream::repeat_with(move || {
                let _running = &running;
                Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])))
            });
            return Response::new(StreamBody::new(pieces).boxed_unsync());
        }
        let bytes = body.collect().await.map(|body| body.to_bytes().len()).unwrap_or_default();
        if head.uri.path() == "/wait" {
            gate.acquire().await.unwrap().forget();
        }
        let headers: serde_json::Map<String, Value> =
            head.headers.iter().map(|(name, value)| (name.to_string(), Value::from(value.to_str().unwrap()))).collect();
        let text = json!({"worker": self.name, "bytes": bytes, "headers": headers, "path": head.uri.to_string()});
        let body = Full::new(Bytes::from(text.to_string())).map_err(|never| match never {}).boxed_unsync();
        Response::builder().header("connection", "close").header("keep-alive", "timeout=1").body(body).unwrap()
    }
}
