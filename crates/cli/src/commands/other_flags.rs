//! Flags of another program that have no effect here, or that are refused, each with its reason.
//!
//! - [`OtherFlags`]: takes them all, so that a command line that works there is understood here.
//! - [`FlagTable`]: whose flags.
//!
//! Rule: a flag whose absence would change what the user sees is refused; one that only tunes a part that we
//! do not have is taken with a note in the log.

use std::fmt;
use std::marker::PhantomData;

use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is taken and does nothing; the log says why.
    Noted(&'static str),
    /// The command does not start; the error says why.
    Refused(&'static str),
}

/// Flag without dashes, whether it takes a value, what becomes of it. Those without may be given one all the same:
/// with `false` they are not given.
pub(super) type FlagRow = (&'static str, bool, Fate);

/// The flags of a program.
pub(super) trait FlagTable {
    /// All of them.
    const FLAGS: &'static [FlagRow];
}

/// The flags of the table that were given, as `name` and value.
pub(super) struct OtherFlags<T>(Vec<(&'static str, String)>, PhantomData<T>);

impl<T> Clone for OtherFlags<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T> Default for OtherFlags<T> {
    fn default() -> Self {
        Self(Vec::new(), PhantomData)
    }
}

impl<T> fmt::Debug for OtherFlags<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl<T: FlagTable> OtherFlags<T> {
    /// Says what becomes of the flags that were given.
    ///
    /// # Errors
    ///
    /// One of them is refused.
    pub(super) fn check(&self) -> Result<()> {
        for (name, _) in &self.0 {
            let fate = T::FLAGS.iter().find(|(known, _, _)| known == name).map(|(_, _, fate)| *fate);
            match fate {
                Some(Fate::Refused(reason)) => bail!("flag `--{name}` is not supported: {reason}"),
                Some(Fate::Noted(reason)) => tracing::warn!(flag = format!("--{name}"), reason, "flag has no effect"),
                None => {}
            }
        }
        Ok(())
    }
}

impl<T: FlagTable> Args for OtherFlags<T> {
    fn augment_args(command: Command) -> Command {
        T::FLAGS.iter().fold(command, |command, (name, takes_value, _)| {
            let argument = Arg::new(*name).long(*name).action(ArgAction::Append).hide(true);
            let argument = if *takes_value {
                argument
            } else {
                argument.num_args(0..=1).require_equals(true).default_missing_value("true")
            };
            command.arg(argument)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: FlagTable> FromArgMatches for OtherFlags<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = T::FLAGS.iter().filter_map(|(name, takes_value, _)| {
            let value = matches.get_many::<String>(name)?.next_back()?;
            (*takes_value || value != "false").then(|| (*name, value.clone()))
        });
        Ok(Self(given.collect(), PhantomData))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Table;

    impl FlagTable for Table {
        const FLAGS: &'static [FlagRow] =
            &[("tuned", true, Fate::Noted("nothing to tune")), ("odd", false, Fate::Refused("it is odd"))];
    }

    fn given(words: &[&str]) -> OtherFlags<Table> {
        let command = OtherFlags::<Table>::augment_args(Command::new("c"));
        let words = ["c"].iter().chain(words);
        OtherFlags::from_arg_matches(&command.get_matches_from(words)).unwrap()
    }

    #[test]
    fn known_flags_are_taken_or_refused_by_name() {
        assert!(given(&[]).0.is_empty());
        given(&["--tuned=2h", "--tuned", "3h", "--odd=false"]).check().unwrap();
        for words in [&["--odd"], &["--odd=true"]] {
            let error = given(words).check().unwrap_err().to_string();
            assert_eq!(error, "flag `--odd` is not supported: it is odd");
        }
    }
}
