//! Which sample an element goes back to.
//!
//! - [`InputAges`]: the newest time that fits an element.
//!
//! An aggregation keeps some labels of its inputs and changes none, so that an input fits an element where no label
//! contradicts; the metric name does not count.
//!
//! Rule: where it cannot be told within bounds, the oldest time counts, never a newer one.

use std::collections::HashMap;

use datamodel::{Labels, METRIC_NAME, Timestamp};

/// Different sets of label names that are told apart, on each side. Results of one query have a few.
const MAX_NAME_SETS: usize = 32;

/// The names of labels, ascending.
type Names = Vec<String>;

/// The times of inputs.
#[derive(Debug, Default)]
pub(crate) struct InputAges {
    groups: HashMap<Names, Vec<(Labels, Timestamp)>>,
    oldest: Option<Timestamp>,
    /// For each set of names that elements have: what inputs give, by the values that both share.
    views: HashMap<Names, Vec<View>>,
}

/// The inputs of one set of names, as elements of another see them.
#[derive(Debug)]
struct View {
    shared: Names,
    newest: HashMap<Vec<String>, Timestamp>,
}

impl InputAges {
    /// Adds an input.
    pub(crate) fn add(&mut self, labels: Labels, at: Timestamp) {
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        self.groups.entry(names(&labels)).or_default().push((labels, at));
    }

    /// The time of the newest input that fits an element; `None` when none does.
    pub(crate) fn newest(&mut self, element: &Labels) -> Option<Timestamp> {
        let names = names(element);
        if !self.views.contains_key(&names) {
            if self.views.len() >= MAX_NAME_SETS || self.groups.len() > MAX_NAME_SETS {
                return self.oldest;
            }
            let views = self.groups.iter().map(|(own, inputs)| View::new(own, &names, inputs)).collect();
            self.views.insert(names.clone(), views);
        }
        let views = self.views.get(&names)?;
        views.iter().filter_map(|view| view.newest.get(&values(element, &view.shared)).copied()).max()
    }
}

impl View {
    fn new(own: &Names, others: &Names, inputs: &[(Labels, Timestamp)]) -> Self {
        let shared: Names = own.iter().filter(|name| others.contains(name)).cloned().collect();
        let mut newest: HashMap<Vec<String>, Timestamp> = HashMap::new();
        for (labels, at) in inputs {
            let known = newest.entry(values(labels, &shared)).or_insert(*at);
            *known = (*known).max(*at);
        }
        Self { shared, newest }
    }
}

fn names(labels: &Labels) -> Names {
    labels.iter().map(|(name, _)| name).filter(|name| *name != METRIC_NAME).map(str::to_owned).collect()
}

fn values(labels: &Labels, names: &[String]) -> Vec<String> {
    names.iter().map(|name| labels.get(name).unwrap_or_default().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1_000)
    }

    #[test]
    fn inputs_fit_where_no_label_contradicts() {
        let mut ages = InputAges::default();
        for (pod, job, seconds) in [("a", "x", 1), ("a", "y", 3), ("b", "x", 2)] {
            ages.add(Labels::from_pairs([("pod", pod), ("job", job)]), at(seconds));
        }
        ages.add(Labels::from_pairs([("zone", "z")]), at(0));
        let mut check = |pairs: &[(&str, &str)], expected: Option<i64>| {
            assert_eq!(ages.newest(&Labels::from_pairs(pairs.iter().copied())), expected.map(at), "{pairs:?}");
        };
        check(&[("pod", "a")], Some(3));
        check(&[("pod", "b"), ("extra", "e")], Some(2));
        check(&[("pod", "a"), ("job", "x"), ("__name__", "n")], Some(1));
        check(&[], Some(3));
        check(&[("pod", "c"), ("zone", "other")], None);
    }

    #[test]
    fn beyond_the_bound_the_oldest_counts() {
        let mut ages = InputAges::default();
        for index in 0..40 {
            ages.add(Labels::from_pairs([(format!("label{index}"), "v")]), at(100 + index));
        }
        assert_eq!(ages.newest(&Labels::from_pairs([("label7", "v")])), Some(at(100)));
    }
}
