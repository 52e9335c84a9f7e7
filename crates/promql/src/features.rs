//! What is switched on beside the plain language.
//!
//! Rule: names and defaults are those of Prometheus 3.14's `--enable-feature`.

/// Switches of the language, named as upstream's feature flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// `promql-experimental-functions`: `limitk`, `info`, `start()`, …
    pub experimental_functions: bool,
    /// `promql-duration-expr`: arithmetic in ranges and offsets. On by default since 3.14.
    pub duration_expressions: bool,
    /// `promql-extended-range-selectors`: `anchored`, `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left`, `fill_right`.
    pub fill_modifiers: bool,
    /// `promql-delayed-name-removal`: the metric name is dropped only from the final result.
    pub delayed_name_removal: bool,
    /// `type-and-unit-labels`: `__type__` decides whether something is a counter.
    pub type_and_unit_labels: bool,
    /// `use-start-timestamps`: `rate` and its kin use the start of a counter where it is known.
    pub start_timestamps: bool,
}

impl Features {
    /// As without any flag.
    pub const DEFAULT: Self = Self {
        experimental_functions: false,
        duration_expressions: true,
        extended_range_selectors: false,
        fill_modifiers: false,
        delayed_name_removal: false,
        type_and_unit_labels: false,
        start_timestamps: false,
    };

    /// The names of all flags.
    pub const FLAGS: [&str; 7] = [
        "promql-experimental-functions",
        "promql-duration-expr",
        "promql-extended-range-selectors",
        "promql-binop-fill-modifiers",
        "promql-delayed-name-removal",
        "type-and-unit-labels",
        "use-start-timestamps",
    ];

    /// Switches a flag on by its name. Returns whether the name is one of this crate's.
    pub fn enable(&mut self, flag: &str) -> bool {
        let switch = match flag {
            "promql-experimental-functions" => &mut self.experimental_functions,
            "promql-duration-expr" => &mut self.duration_expressions,
            "promql-extended-range-selectors" => &mut self.extended_range_selectors,
            "promql-binop-fill-modifiers" => &mut self.fill_modifiers,
            "promql-delayed-name-removal" => &mut self.delayed_name_removal,
            "type-and-unit-labels" => &mut self.type_and_unit_labels,
            "use-start-timestamps" => &mut self.start_timestamps,
            _ => return false,
        };
        *switch = true;
        true
    }
}

impl Default for Features {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_by_upstreams_names() {
        let mut features = Features::default();
        assert!(features.enable("promql-extended-range-selectors"));
        assert!(features.extended_range_selectors);
        assert!(!features.enable("agent"));
        assert!(Features::FLAGS.iter().all(|flag| features.enable(flag)));
    }
}
