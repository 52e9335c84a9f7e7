//! The metrics API inside `crescendo server`: the same listener, the same rules, and the engine of the process behind it.
//!
//! Rule: what is asked of `crescendo adapter` beside an engine is asked here of one process.

use e2e::server::first_value;

use super::*;

/// A running server, and a client of its metrics API.
struct Embedded {
    server: Server,
    address: String,
    client: HttpClient,
}

impl Embedded {
    async fn start(config: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let certificates = folder.path().join("certificates");
        let words = [
            format!("--adapter.config={}", seed_rules().display()),
            format!("--adapter.cert-dir={}", certificates.display()),
            "--adapter.bind-address=127.0.0.1".to_owned(),
            "--adapter.secure-port=0".to_owned(),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let mut server = Server::start_in(folder, &words).await.unwrap();
        let line = server.process.line_with("The metrics API is ready: ").await.unwrap();
        let address = line.split_once("ready: ").unwrap().1.trim().trim_end_matches("/apis").to_owned();
        Self { server, address, client: trusting(&certificates.join("apiserver.crt")) }
    }

    /// Status, warning and text of an answer.
    async fn get(&self, path: &str, token: Option<&str>) -> anyhow::Result<(u16, Option<String>, String)> {
        let authorization = token.map(|token| ("authorization", format!("Bearer {token}")));
        let headers = authorization.iter().map(|(name, value)| (*name, value.as_str()));
        let (status, headers, text) = ask(&self.client, &format!("{}{path}", self.address), headers).await?;
        let warning = headers.get("warning").map(|value| value.to_str().unwrap().to_owned());
        Ok((status.as_u16(), warning, text))
    }

    async fn until(&self, path: &str, expected: &[&str], is_held: bool) {
        let done = |(status, warning, text): &(u16, Option<String>, String)| {
            let found = serde_json::from_str::<Value>(text).is_ok_and(|list| values(&list) == expected);
            *status == 200 && found && warning.is_some() == is_held
        };
        let found = wait::until(path, SOON, || self.get(path, Some("good")), done).await;
        found.map_err(|error| error.context(self.server.process.output())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_answers_from_its_own_engine_to_whom_the_cluster_lets_in() {
    let mut targets = Targets::start().await;
    let (cluster, folder) = (cluster().await, tempfile::tempdir().unwrap());
    let flags = kubeconfig_flags(&cluster, folder.path(), "adapter.");
    let tolerant = "--adapter.authentication-tolerate-lookup-failure";
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain([tolerant]).collect();
    let embedded = Embedded::start(&targets.config(), &flags).await;
    embedded.until(ACTIVE, &["3", "5"], false).await;
    embedded.until(&format!("{ACTIVE}?labelSelector=app%3Dasr,number%3D1"), &["5"], false).await;
    embedded.until(&format!("{EXTERNAL}/namespaces/smallest/lightning_asr_replica_count"), &["2"], false).await;
    for (path, token, status, part) in [
        (ACTIVE, None, 401, "none was given"),
        (ACTIVE, Some("bad"), 401, "the cluster does not know it"),
        ("/metrics", None, 401, "Unauthorized"),
        ("/metrics", Some("good"), 200, "prometheus_tsdb_head_series"),
        ("/openapi/v2", Some("good"), 200, "\"swagger\":\"2.0\""),
        ("/readyz", None, 200, "ok"),
        (&ACTIVE.replace("smallest", "secret"), Some("good"), 403, "RBAC: no rule"),
        (&format!("{CUSTOM}/namespaces/smallest/pods/*/nope"), Some("good"), 404, "\"code\":404"),
    ] {
        let (found, _, text) = embedded.get(path, token).await.unwrap();
        assert!(found == status && text.contains(part), "{path} with {token:?}: {found} {text}");
    }
    // The pages stand where they stood, without the metrics API.
    assert_eq!(embedded.server.web.get(CUSTOM).await.unwrap().status, 404);

    // A worker that does not answer is held while it is discovered, and gone when the cluster says so.
    targets.workers.pop();
    embedded.until(ACTIVE, &["3", "5"], true).await;
    cluster.delete("/api/v1/pods", "smallest", "asr-1");
    embedded.until(ACTIVE, &["3"], false).await;
}

/// The newer value is there before a scheduled scrape brings it, and an ordinary query does not see it.
#[tokio::test(flavor = "multi_thread")]
async fn question_scrapes_the_pods_that_it_is_about() {
    let targets = Targets::start().await;
    let config = targets.config().replace("scrape_interval: 1s", "scrape_interval: 5s");
    let embedded = Embedded::start(&config, &["--adapter.without-cluster"]).await;
    embedded.until(ACTIVE, &["3", "5"], false).await;
    let web = &embedded.server.web;
    // A scheduled scrape may fall into one round; it cannot fall into each.
    let mut pulled = 0;
    for active in 10..15 {
        let before = web.query("count_over_time(up{pod=\"asr-1\"}[1h])", None).await.unwrap();
        targets.workers[1].set_page(&page(active));
        embedded.until(ACTIVE, &["3", &active.to_string()], false).await;
        let stored = web.query("asr_active_requests{pod=\"asr-1\"}", None).await.unwrap();
        let after = web.query("count_over_time(up{pod=\"asr-1\"}[1h])", None).await.unwrap();
        if first_value(&before) == first_value(&after) {
            assert_ne!(first_value(&stored), Some(f64::from(active)), "{stored}");
            pulled += 1;
        }
    }
    println!("answers before a scheduled scrape: {pulled} of 5");
    assert!(pulled > 0, "{}", embedded.server.process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rules_nothing_listens_and_a_lone_flag_is_refused() {
    let server = Server::start("", &[]).await.unwrap();
    let id = server.process.id().unwrap();
    let listening = listening(id);
    assert_eq!(listening.len(), 1, "{listening:?}");
    assert!(!server.process.output().contains("The metrics API"), "{}", server.process.output());

    for (words, reason) in [
        (vec!["server", "--adapter.without-cluster"], "--adapter.config <CONFIG>"),
        (
            vec!["server", "--adapter.config=/no/such", "--config.file=/dev/null", "--web.listen-address=127.0.0.1:0"],
            "/no/such",
        ),
    ] {
        let mut process = Crescendo::start(&words).unwrap();
        assert_eq!(process.wait(SOON).await.unwrap().code(), Some(2), "{words:?}");
        let output = process.drained().await;
        assert!(output.contains(reason), "{words:?}:\n{output}");
    }
}

/// The local addresses, as the kernel writes them, on which a process listens.
fn listening(id: u32) -> Vec<String> {
    let folder = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap();
    let links = folder.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let sockets: Vec<String> = links.map(|link| link.display().to_string()).collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let own = rows.filter(|row| row.get(3) == Some(&"0A"));
    let own = own.filter(|row| row.get(9).is_some_and(|inode| sockets.contains(&format!("socket:[{inode}]"))));
    own.map(|row| row[1].to_owned()).collect()
}
