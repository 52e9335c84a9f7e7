//! Resources with their amounts: CPU, memory, GPUs.
//!
//! Rule: an amount that cannot be read is left out; a resource without a known unit is not told.

use std::collections::BTreeMap;

use datamodel::Quantity;
use serde::Deserialize;
use serde::Deserializer;
use serde_json::Value;

/// Amounts by resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Amounts(BTreeMap<String, Quantity>);

impl<'de> Deserialize<'de> for Amounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: Option<BTreeMap<String, Value>> = Option::deserialize(deserializer)?;
        let read = |(name, value)| Some((name, amount(&value)?));
        Ok(Self(raw.unwrap_or_default().into_iter().filter_map(read).collect()))
    }
}

/// An amount: a text, or a number of JSON.
pub(super) fn amount(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// An amount in thousandths, as kube-state-metrics turns it into a number.
pub(super) fn thousandths(quantity: Quantity) -> f64 {
    quantity.milli_value() as f64 / 1000.0
}

impl Amounts {
    /// Resource, unit and amount of those that are told; of all but CPU whole numbers where `is_whole`.
    pub(super) fn told(&self, is_whole: bool) -> impl Iterator<Item = (String, &'static str, f64)> {
        self.0.iter().filter_map(move |(name, quantity)| {
            let unit = unit(name)?;
            let is_cut = is_whole && unit != "core";
            let value = if is_cut { quantity.value() as f64 } else { thousandths(*quantity) };
            Some((label_value(name), unit, value))
        })
    }
}

/// The unit in which a resource is counted.
fn unit(name: &str) -> Option<&'static str> {
    match name {
        "cpu" => Some("core"),
        "memory" | "storage" | "ephemeral-storage" => Some("byte"),
        "pods" => Some("integer"),
        _ if name.starts_with("hugepages-") || name.starts_with("attachable-volumes-") => Some("byte"),
        // Extended resources have the domain of who provides them: nvidia.com/gpu.
        _ => {
            let (domain, _) = name.split_once('/')?;
            let is_extended = !domain.ends_with("kubernetes.io") && !name.starts_with("requests.");
            is_extended.then_some("integer")
        }
    }
}

/// A resource's name with an underscore for each character that is none of a label's name.
fn label_value(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
