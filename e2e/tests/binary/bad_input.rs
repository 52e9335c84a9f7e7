//! Bad input gets a clear error in the API's own form, and costs nobody else anything.

use std::time::Duration;

use e2e::process::Crescendo;
use e2e::up::{Up, normalized, sample};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Name, file, form fields, status, and a word of the message.
type Case<'a> = (&'a str, &'a [u8], &'a [(&'a str, &'a str)], u16, &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn bad_uploads_are_refused_and_the_next_good_one_is_answered() {
    let up = Up::start(&[]).await.unwrap();
    let (audio, text) = sample().unwrap();
    let model = ("model", "whisper-1");
    let truncated = &audio[..30];
    let too_large = vec![0_u8; 26 * 1024 * 1024];
    let noise: Vec<u8> = b"this is not audio ".repeat(100);
    let cases: [Case<'_>; 6] = [
        ("not audio", &noise, &[model], 400, "audio"),
        ("empty", b"", &[model], 400, "no audio"),
        ("truncated", truncated, &[model], 400, ""),
        ("too large", &too_large, &[model], 413, "26214400"),
        ("unknown model", &audio, &[("model", "whisper-900")], 404, "whisper-900"),
        ("bad field", &audio, &[model, ("response_format", "interpretive-dance")], 400, "response_format"),
    ];
    for (name, bytes, fields, status, mentions) in cases {
        let answer = up.asr.transcribe("x.wav", bytes, fields).await.unwrap();
        let error = answer.json().unwrap()["error"].clone();
        assert_eq!(answer.status, status, "{name}: {error}");
        assert!(error["message"].as_str().unwrap().contains(mentions), "{name}: {error}");
        assert!(error["type"].is_string(), "{name}: {error}");
    }
    let good = up.asr.transcribe("sample.wav", &audio, &[model]).await.unwrap();
    assert_eq!(normalized(good.json().unwrap()["text"].as_str().unwrap()), normalized(&text));
}

/// Runs a command that must fail, and gives what it printed.
async fn refused(words: &[&str]) -> String {
    let mut process = Crescendo::start(words).unwrap();
    let status = process.wait(TIMEOUT).await.unwrap();
    assert_eq!(status.code(), Some(2), "{words:?}:\n{}", process.output());
    process.drained().await
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_manifest_is_refused_with_all_errors_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hpa.yaml");
    let manifest = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: x}\nspec:\n  \
                    scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}\n  minReplicas: 5\n  \
                    maxReplicas: 2\n  metrix: []\n";
    std::fs::write(&path, manifest).unwrap();
    let path = path.to_str().unwrap();
    let output = refused(&["up", "--hpa", path]).await;
    assert!(
        output.contains(&format!("{path}:8:")) && output.contains("metrix"),
        "unknown key with its line:\n{output}"
    );
    assert!(output.contains("did you mean `metrics`"), "a suggestion:\n{output}");
    assert!(output.contains("maxReplicas"), "the second error too:\n{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn port_in_use_is_named_with_the_flag_to_change() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let words = ["up", "--storage.path", data, "--web.listen-address", &address, "--asr.listen-address", "127.0.0.1:0"];
    let output = refused(&words).await;
    assert!(output.contains(&address) && output.contains("--web.listen-address"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn model_with_a_wrong_hash_is_refused() {
    let good = std::path::PathBuf::from(std::env::var_os("CRESCENDO_MODEL_DIR").unwrap());
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(good).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let vocabulary = folder.path().join("vocabulary.txt");
    let mut text = std::fs::read(&vocabulary).unwrap();
    text.push(b'x');
    std::fs::write(&vocabulary, text).unwrap();
    let source = format!("dir:{}", folder.path().display());
    let cache = tempfile::tempdir().unwrap();
    let words = ["model", "pull", "tiny.en", "--source", &source, "--cache", cache.path().to_str().unwrap()];
    let output = refused(&words).await;
    assert!(output.contains("vocabulary.txt") && output.contains("sha256"), "{output}");
    assert!(!cache.path().join("tiny.en").exists(), "nothing of it is kept");
}
