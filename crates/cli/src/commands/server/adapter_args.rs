//! The metrics API's flags in a server: those of `crescendo adapter` with `adapter.` before their names.
//!
//! Rule: nothing is copied; a flag that `adapter` gets, this command gets too.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use datamodel::time::parse_duration;

use crate::commands::secured_api::SecuredApiArgs;

const PREFIX: &str = "adapter.";

/// The flag without which nothing is served, as clap identifies it.
const CONFIG: &str = "config";

const HEADING: &str = "Metrics API for the Horizontal Pod Autoscaler";

/// The names with the prefix: clap keeps names for as long as the process lives.
static NAMES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let flags = SecuredApiArgs::augment_args(Command::new("adapter"));
    let names = flags.get_arguments().filter_map(clap::Arg::get_long);
    names.map(|name| (name.to_owned(), format!("{PREFIX}{name}"))).collect()
});

/// The flags of the metrics API.
#[derive(Clone, Debug)]
pub(super) struct AdapterArgs {
    /// As they were given; `None` without a file of rules.
    pub(super) api: Option<SecuredApiArgs>,
    /// How often the targets of the metrics are scraped; `None`: as the configuration says.
    pub(super) scrape_interval: Option<Duration>,
}

/// What the server adds to the shared flags.
#[derive(Args)]
struct OwnArgs {
    /// Ours: how often the targets of these metrics are scraped. Values are fresh for two of these (at least 1m) and
    /// held for three (at least 90s). Default: `global.scrape_interval`.
    #[arg(id = "adapter.scrape-interval", long = "adapter.scrape-interval", value_name = "SCRAPE_INTERVAL",
          value_parser = parse_duration, requires = CONFIG, help_heading = HEADING)]
    scrape_interval: Option<Duration>,
}

impl Args for AdapterArgs {
    fn augment_args(command: Command) -> Command {
        let flags = SecuredApiArgs::augment_args(Command::new("adapter"));
        let renamed = flags.get_arguments().filter_map(|argument| {
            let name = NAMES.get(argument.get_long()?)?;
            let argument = argument.clone().long(name.as_str()).help_heading(HEADING);
            Some(if argument.get_id() == CONFIG { argument } else { argument.requires(CONFIG) })
        });
        OwnArgs::augment_args(command.args(renamed))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AdapterArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let api = SecuredApiArgs { prefix: PREFIX, ..SecuredApiArgs::from_arg_matches(matches)? };
        let OwnArgs { scrape_interval } = OwnArgs::from_arg_matches(matches)?;
        Ok(Self { api: api.config.is_some().then_some(api), scrape_interval })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<AdapterArgs, clap::Error> {
        let command = AdapterArgs::augment_args(Command::new("server"));
        AdapterArgs::from_arg_matches(&command.try_get_matches_from(["server"].iter().chain(words))?)
    }

    #[test]
    fn every_flag_of_the_adapter_is_there_under_its_longer_name() {
        let command = AdapterArgs::augment_args(Command::new("server"));
        let names: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        for name in NAMES.keys() {
            assert!(names.contains(&format!("adapter.{name}").as_str()), "{name} is missing in {names:?}");
        }
        let words = ["--adapter.config=rules.yaml", "--adapter.secure-port=6443", "--adapter.without-cluster"];
        let api = parse(&words).unwrap().api.unwrap();
        assert_eq!((api.serving.address().port(), api.cluster.without_cluster), (6443, true));
        assert_eq!(api.flag("secure-port"), "--adapter.secure-port");
    }

    #[test]
    fn nothing_is_served_without_rules_and_a_flag_alone_is_refused() {
        assert!(parse(&[]).unwrap().api.is_none());
        for word in ["--adapter.secure-port=6443", "--adapter.without-cluster", "--adapter.scrape-interval=5s"] {
            let error = parse(&[word]).unwrap_err().to_string();
            assert!(error.contains("--adapter.config <CONFIG>"), "{error}");
        }
    }
}
