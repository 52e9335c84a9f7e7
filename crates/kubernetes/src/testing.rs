//! A small API server over HTTP on loopback, for tests: lists in pages, watches, selectors, faults.
//!
//! Rule: what it does not know it answers with 404; it checks nobody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datamodel::selector::Selector;
use http_client::HttpClientConfig;
use http_client::kubeconfig::Cluster;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered with this status, and a `Status` object with this reason.
    Status(u16, &'static str),
    /// The connection is closed.
    Close,
    /// It is answered with this body, as if all were well.
    Body(Vec<u8>),
}

/// Answers what is created: the path, and the object; none: it is stored.
pub type OnCreate = Box<dyn Fn(&str, &Value) -> Option<Value> + Send + Sync>;

#[derive(Default)]
struct State {
    version: u64,
    /// By collection (`/api/v1/pods`), namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    history: Vec<Change>,
    /// Versions up to here are forgotten.
    compacted: u64,
    requests: Vec<String>,
    /// Collections of kinds that are not there.
    withdrawn: BTreeSet<String>,
    faults: VecDeque<(String, Fault)>,
    /// What is answered at paths that are no collections: a metric, a scale.
    answers: BTreeMap<String, (u16, Value)>,
    on_create: Option<OnCreate>,
    /// Grows with each order to close the watches.
    closings: u64,
}

#[derive(Clone)]
struct Change {
    version: u64,
    collection: String,
    kind: &'static str,
    object: Value,
}

/// An API server. It stops when it is dropped.
pub struct FakeCluster {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
    _tasks: JoinSet<()>,
}

impl std::fmt::Debug for FakeCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeCluster").field("address", &self.address).finish_non_exhaustive()
    }
}

impl FakeCluster {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State { version: 1, ..State::default() }));
        let (changed, _) = watch::channel(());
        let mut tasks = JoinSet::new();
        let (served, wake) = (Arc::clone(&state), changed.clone());
        tasks.spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let conversation = Conversation { stream, state: Arc::clone(&served), changed: wake.clone() };
                conversations.spawn(conversation.run());
            }
        });
        Ok(Self { address, state, changed, _tasks: tasks })
    }

    /// Its address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How it is reached.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        let server = http::Uri::try_from(self.url()).unwrap_or_default();
        Cluster { server, http: HttpClientConfig::default(), namespace: Some("default".to_owned()) }
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Arc<Client> {
        Arc::new(Client::new(self.cluster(), http_client::ClientOptions::default()))
    }

    /// Adds the objects of a YAML text, each to the collection of its kind.
    ///
    /// # Errors
    ///
    /// The text is none.
    pub fn put_all(&self, yaml: &str) -> Result<(), yaml::Errors> {
        for document in yaml::parse_all("objects", yaml)? {
            let object = crate::json::value_of(document.root());
            let (version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str().unwrap_or_default());
            let plural = match kind.to_lowercase() {
                kind if kind.ends_with("endpoints") => kind,
                kind if kind.ends_with('s') => format!("{kind}es"),
                kind => format!("{kind}s"),
            };
            let base = match version {
                Some(version) if version.contains('/') => format!("/apis/{version}"),
                _ => "/api/v1".to_owned(),
            };
            self.put(&format!("{base}/{plural}"), object);
        }
        Ok(())
    }

    /// Adds or replaces an object of a collection (`/api/v1/pods`).
    pub fn put(&self, collection: &str, object: Value) {
        self.state().put(collection, object);
        self.changed.send_replace(());
    }

    /// Removes an object of a collection.
    pub fn delete(&self, collection: &str, namespace: &str, name: &str) {
        let mut state = self.state();
        let key = (collection.to_owned(), namespace.to_owned(), name.to_owned());
        if let Some(mut object) = state.objects.remove(&key) {
            state.version += 1;
            object["metadata"]["resourceVersion"] = json!(state.version.to_string());
            let version = state.version;
            state.history.push(Change { version, collection: collection.to_owned(), kind: "DELETED", object });
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Forgets all versions up to now.
    pub fn compact(&self) {
        let mut state = self.state();
        state.version += 1;
        state.compacted = state.version;
        state.history.clear();
    }

    /// Tells the watches of a collection how far the server has come.
    pub fn bookmark(&self, collection: &str) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let object = json!({"metadata": {"resourceVersion": version.to_string()}});
        state.history.push(Change { version, collection: collection.to_owned(), kind: "BOOKMARK", object });
        drop(state);
        self.changed.send_replace(());
    }

    /// Closes the connections of all watches.
    pub fn close_watches(&self) {
        self.state().closings += 1;
        self.changed.send_replace(());
    }

    /// Serves a collection no longer, and closes all watches.
    pub fn withdraw(&self, collection: &str) {
        self.state().withdrawn.insert(collection.to_owned());
        self.close_watches();
    }

    /// Serves a collection again.
    pub fn serve(&self, collection: &str) {
        self.state().withdrawn.remove(collection);
    }

    /// The next request whose path with its query contains this goes wrong.
    pub fn fail_next(&self, containing: &str, fault: Fault) {
        self.state().faults.push_back((containing.to_owned(), fault));
    }

    /// Answers at a path (without parameters) by this from now on.
    pub fn answer(&self, path: &str, code: u16, body: Value) {
        self.state().answers.insert(path.to_owned(), (code, body));
    }

    /// Answers what is created by this.
    pub fn on_create(&self, answer: OnCreate) {
        self.state().on_create = Some(answer);
    }

    /// Waits until there were so many requests whose method and path contain this.
    pub async fn until_requested(&self, containing: &str, times: usize) {
        self.until(|state| state.requests.iter().filter(|request| request.contains(containing)).count() >= times).await;
    }

    /// Waits until all that should go wrong went wrong.
    pub async fn until_faults_are_met(&self) {
        self.until(|state| state.faults.is_empty()).await;
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        while !reached(&self.state()) {
            // The sender lives as long as we do.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Method and path with query of all requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// The object that is stored.
    #[must_use]
    pub fn get(&self, collection: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state().objects.get(&(collection.to_owned(), namespace.to_owned(), name.to_owned())).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"][key].as_str().unwrap_or_default()
}

impl State {
    fn put(&mut self, collection: &str, mut object: Value) -> Value {
        self.version += 1;
        let version = self.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let key = (collection.to_owned(), text(&object, "namespace").to_owned(), text(&object, "name").to_owned());
        let known = self.objects.insert(key, object.clone());
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        self.history.push(Change { version, collection: collection.to_owned(), kind, object: object.clone() });
        object
    }

    fn fault(&mut self, path: &str) -> Option<Fault> {
        let index = self.faults.iter().position(|(containing, _)| path.contains(containing.as_str()))?;
        self.faults.remove(index).map(|(_, fault)| fault)
    }
}

/// One request.
struct Asked {
    method: String,
    /// With the query.
    target: String,
    collection: String,
    namespace: String,
    name: Option<String>,
    query: BTreeMap<String, String>,
    metadata_only: bool,
    body: Vec<u8>,
}

impl Asked {
    fn selects(&self, object: &Value) -> bool {
        let parameter = |key: &str| self.query.get(key).map(String::as_str).unwrap_or_default();
        let labels = &object["metadata"]["labels"];
        let matches = Selector::parse(parameter("labelSelector"))
            .is_ok_and(|selector| selector.matches_with(|key| labels[key].as_str()));
        let field = |condition: &str| {
            let (path, value) = condition.split_once('=').unwrap_or((condition, ""));
            path.split('.').fold(object, |object, key| &object[key]).as_str().unwrap_or_default() == value
        };
        let fields = parameter("fieldSelector");
        (self.namespace.is_empty() || text(object, "namespace") == self.namespace)
            && matches
            && (fields.is_empty() || fields.split(',').all(field))
    }

    fn shown(&self, object: &Value) -> Value {
        if self.metadata_only { json!({"metadata": object["metadata"]}) } else { object.clone() }
    }
}

struct Conversation {
    stream: TcpStream,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

impl Conversation {
    async fn run(mut self) {
        while let Some(asked) = self.read().await {
            if self.answer(&asked).await.is_none() {
                return;
            }
        }
    }

    async fn read(&mut self) -> Option<Asked> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let mut body = vec![0; header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
        self.stream.read_exact(&mut body).await.ok()?;
        let mut words = head.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let base = if segments.first() == Some(&"api") { 2 } else { 3 };
        let prefix = format!("/{}", segments.get(..base).unwrap_or_default().join("/"));
        let (namespace, plural, name) = match segments.get(base..).unwrap_or_default() {
            ["namespaces", namespace, plural] => (*namespace, *plural, None),
            ["namespaces", namespace, plural, name] => (*namespace, *plural, Some((*name).to_owned())),
            [plural] => ("", *plural, None),
            [plural, name] => ("", *plural, Some((*name).to_owned())),
            _ => ("", "", None),
        };
        let (collection, namespace) = (format!("{prefix}/{plural}"), namespace.to_owned());
        let metadata_only = header("accept").is_some_and(|accept| accept.contains("as=PartialObjectMetadata"));
        lock(&self.state).requests.push(format!("{method} {target}"));
        self.changed.send_replace(());
        Some(Asked { method, target, collection, namespace, name, query, metadata_only, body })
    }

    /// None: the connection is over.
    async fn answer(&mut self, asked: &Asked) -> Option<()> {
        let fault = lock(&self.state).fault(&asked.target);
        self.changed.send_replace(());
        match fault {
            Some(Fault::Close) => return None,
            Some(Fault::Status(code, reason)) => {
                let status = json!({"kind": "Status", "code": code, "reason": reason, "message": "by order"});
                return self.respond(code, status.to_string().as_bytes()).await;
            }
            Some(Fault::Body(body)) => return self.respond(200, &body).await,
            None => {}
        }
        let path = asked.target.split('?').next().unwrap_or_default();
        let fixed = lock(&self.state).answers.get(path).cloned();
        if let Some((code, body)) = fixed {
            return self.respond(code, body.to_string().as_bytes()).await;
        }
        let is_withdrawn = lock(&self.state).withdrawn.contains(&asked.collection);
        if is_withdrawn {
            return self.respond(404, b"404 page not found\n").await;
        }
        if asked.query.contains_key("watch") {
            return self.watch(asked).await;
        }
        let (code, body) = self.object(asked);
        self.respond(code, body.to_string().as_bytes()).await
    }

    fn object(&self, asked: &Asked) -> (u16, Value) {
        let mut state = lock(&self.state);
        let missing = || (404, json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "not there"}));
        let key = |name: &str| (asked.collection.clone(), asked.namespace.clone(), name.to_owned());
        match (asked.method.as_str(), &asked.name) {
            ("GET", None) => list(&state, asked),
            ("GET", Some(name)) => {
                state.objects.get(&key(name)).map_or_else(missing, |object| (200, asked.shown(object)))
            }
            ("POST", None) => {
                let object: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
                if let Some(answer) = state.on_create.as_ref().and_then(|answer| answer(&asked.target, &object)) {
                    return (201, answer);
                }
                if state.objects.contains_key(&key(text(&object, "name"))) {
                    return (409, json!({"kind": "Status", "code": 409, "reason": "AlreadyExists"}));
                }
                let object = state.put(&asked.collection, object);
                self.changed.send_replace(());
                (201, object)
            }
            ("PUT" | "PATCH", Some(name)) => {
                let change: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
                let Some(known) = state.objects.get(&key(name)).cloned() else { return missing() };
                let object = if asked.method == "PUT" { change } else { merged(known, change) };
                let object = state.put(&asked.collection, object);
                self.changed.send_replace(());
                (200, object)
            }
            _ => missing(),
        }
    }

    async fn respond(&mut self, code: u16, body: &[u8]) -> Option<()> {
        let head =
            format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        self.stream.write_all(head.as_bytes()).await.ok()?;
        self.stream.write_all(body).await.ok()
    }

    async fn watch(&mut self, asked: &Asked) -> Option<()> {
        let mut changed = self.changed.subscribe();
        let version = asked.query.get("resourceVersion").and_then(|version| version.parse().ok());
        let (mut sent, closings): (u64, u64) = {
            let state = lock(&self.state);
            (version.unwrap_or(state.version), state.closings)
        };
        self.stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.ok()?;
        loop {
            let (lines, is_over) = {
                let state = lock(&self.state);
                if sent < state.compacted {
                    let status = json!({"code": 410, "reason": "Expired", "message": "too old resource version"});
                    (vec![json!({"type": "ERROR", "object": status})], true)
                } else {
                    let later = state.history.iter().filter(|change| change.version > sent);
                    let ours = later.filter(|change| change.collection == asked.collection);
                    let seen = ours.filter(|change| change.kind == "BOOKMARK" || asked.selects(&change.object));
                    let line = |change: &Change| json!({"type": change.kind, "object": asked.shown(&change.object)});
                    (seen.map(line).collect(), state.closings > closings)
                }
            };
            sent = lock(&self.state).version.max(sent);
            for line in &lines {
                let line = format!("{line}\n");
                let chunk = format!("{:x}\r\n{line}\r\n", line.len());
                self.stream.write_all(chunk.as_bytes()).await.ok()?;
            }
            if is_over {
                self.stream.write_all(b"0\r\n\r\n").await.ok()?;
                return None;
            }
            changed.changed().await.ok()?;
        }
    }
}

/// What clients that know kinds expect a list to call itself.
const LISTS: [(&str, &str, &str); 7] = [
    ("/pods", "v1", "PodList"),
    ("/services", "v1", "ServiceList"),
    ("/endpoints", "v1", "EndpointsList"),
    ("/nodes", "v1", "NodeList"),
    ("/namespaces", "v1", "NamespaceList"),
    ("/endpointslices", "discovery.k8s.io/v1", "EndpointSliceList"),
    ("/ingresses", "networking.k8s.io/v1", "IngressList"),
];

/// A page: `continue` is how many objects were given already.
fn list(state: &State, asked: &Asked) -> (u16, Value) {
    let number = |key: &str| asked.query.get(key).and_then(|text| text.parse::<usize>().ok());
    let (skip, limit) = (number("continue").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
    let ours = state.objects.iter().filter(|((collection, _, _), _)| *collection == asked.collection);
    let all: Vec<&Value> = ours.map(|(_, object)| object).filter(|object| asked.selects(object)).collect();
    let items: Vec<Value> = all.iter().skip(skip).take(limit).map(|object| asked.shown(object)).collect();
    let given = skip + items.len();
    let next = if given < all.len() { given.to_string() } else { String::new() };
    let mut page =
        json!({"metadata": {"resourceVersion": state.version.to_string(), "continue": next}, "items": items});
    if let Some((_, version, kind)) = LISTS.iter().find(|(ending, _, _)| asked.collection.ends_with(ending)) {
        page["apiVersion"] = json!(version);
        page["kind"] = json!(kind);
    }
    (200, page)
}

/// RFC 7386.
fn merged(mut object: Value, change: Value) -> Value {
    let Value::Object(fields) = change else { return change };
    if !object.is_object() {
        object = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            object.as_object_mut().map(|object| object.remove(&key));
        } else {
            let known = object[&key].take();
            object[&key] = merged(known, value);
        }
    }
    object
}
