use datamodel::Labels;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{ADDRESS, Discoverer, StaticDiscoverer, TargetGroup, Update, Updates, WatchedDiscoverer};

#[tokio::test]
async fn static_groups_are_reported_once() {
    let (sender, mut updates) = mpsc::channel(1);
    let groups = vec![group("a", &["one:1", "two:2"])];
    Box::new(StaticDiscoverer::new(groups.clone())).run(Updates::new(7, sender), CancellationToken::new()).await;
    assert_eq!(updates.recv().await, Some(Update { discoverer: 7, groups }));
    assert_eq!(updates.recv().await, None);
}

#[tokio::test]
async fn watched_groups_follow_the_value_and_end_with_a_group_without_targets() {
    let (groups, watched) = watch::channel(vec![group("a", &["one:1"]), group("b", &["two:2"])]);
    let (sender, mut updates) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let discoverer = Box::new(WatchedDiscoverer::new(watched)).run(Updates::new(0, sender), shutdown.clone());
    let test = async {
        assert_eq!(sources(updates.recv().await), [("a", 1), ("b", 1)].map(owned));
        groups.send(vec![group("b", &["two:2", "three:3"])]).unwrap();
        assert_eq!(sources(updates.recv().await), [("b", 2), ("a", 0)].map(owned));
        groups.send(vec![]).unwrap();
        assert_eq!(sources(updates.recv().await), [("b", 0)].map(owned));
        shutdown.cancel();
        assert_eq!(updates.recv().await, None);
    };
    tokio::join!(discoverer, test);
}

#[tokio::test]
async fn discoverer_ends_when_nobody_receives() {
    let (_groups, watched) = watch::channel(vec![]);
    let (sender, updates) = mpsc::channel(1);
    drop(updates);
    Box::new(WatchedDiscoverer::new(watched)).run(Updates::new(0, sender), CancellationToken::new()).await;
}

#[test]
fn addresses_become_label_sets() {
    let group = group("a", &["one:1"]);
    assert_eq!(group.targets, [Labels::from_pairs([(ADDRESS, "one:1")])]);
    assert_eq!(group.labels.get("zone"), Some("x"));
}

fn group(source: &str, addresses: &[&str]) -> TargetGroup {
    TargetGroup::from_addresses(source, Labels::from_pairs([("zone", "x")]), addresses)
}

fn owned((source, targets): (&str, usize)) -> (String, usize) {
    (source.to_owned(), targets)
}

fn sources(update: Option<Update>) -> Vec<(String, usize)> {
    update.unwrap().groups.iter().map(|group| (group.source.to_string(), group.targets.len())).collect()
}
