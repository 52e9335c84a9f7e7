//! The version of Prometheus that a configuration is written for.
//!
//! Rule: a key that the version lacks is left out, as the operator does; without a version nothing is.

/// `v2.45.0`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64, u64);

impl Version {
    /// Later than all.
    pub const NEWEST: Self = Self(u64::MAX, 0);

    /// Reads `v2.45.0`, with or without the `v`. What is none counts as the newest.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.').map(|part| part.parse::<u64>().ok());
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(major), Some(minor)) => Self(major, minor),
            _ => Self::NEWEST,
        }
    }

    /// Whether the version is this one or later.
    #[must_use]
    pub const fn has(self, major: u64, minor: u64) -> bool {
        self.0 > major || (self.0 == major && self.1 >= minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let version = Version::parse("v2.26.0");
        assert!(version.has(2, 26) && version.has(2, 9) && version.has(1, 30));
        assert!(!version.has(2, 27) && !version.has(3, 0));
        assert_eq!(Version::parse(""), Version::NEWEST);
        assert_eq!(Version::parse("main"), Version::NEWEST);
        assert!(Version::parse("3.0.0-rc.1").has(3, 0));
    }
}
