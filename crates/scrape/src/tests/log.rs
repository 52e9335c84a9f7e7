//! What the operator reads.

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use super::{Answer, INTERVAL, World, config};

/// Collects what is logged.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn target_that_starts_or_ceases_to_fail_is_logged_once() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).without_time().with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut world = World::start(config(), &[("lightning-asr", "m 1\n")]).await;
    world.scraped("lightning-asr").await;
    world.net.set("lightning-asr", Answer { status: 500, ..Answer::default() });
    world.pass(INTERVAL * 3).await;
    world.net.page("lightning-asr", "m 1\n");
    world.pass(INTERVAL * 3).await;
    world.stop().await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let of_us: Vec<&str> = text.lines().filter(|line| line.contains("scrape_pool=")).collect();
    let place = "scrape_pool=asr scrape_target=http://lightning-asr:1/metrics";
    let expected = [
        format!(
            " WARN scrape::scrape_loop: target cannot be scraped {place} \
             error=\"server returned HTTP status 500 Internal Server Error\""
        ),
        format!(" WARN scrape::scrape_loop: target is scraped again {place}"),
    ];
    assert_eq!(of_us, expected);
}
