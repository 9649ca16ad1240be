//! The flags of the subcommand that runs, by what the contract calls that which they say. Pure.
//!
//! A flag is called as its field is, with other hyphens. One that is not, or of which there are several for one field,
//! is in a group of clap that has the field's name.

use std::collections::BTreeMap;

use clap::{ArgMatches, Command, parser::ValueSource};

/// Values that could stand below zero, by the names that the help has for them: plain numbers, and those that have units
/// or are written in other ways, too.
const NUMBERS: [&str; 3] = ["FACTOR", "N", "SEQUENCE"];
const QUANTITIES: [&str; 5] = ["BYTES", "DURATION", "POSITION", "SIZE", "TIME"];

/// What the broker names as a field, the person gave as a flag.
#[derive(Debug, Default)]
pub struct Flags(BTreeMap<String, String>);

impl Flags {
    /// Those of the subcommand that was asked for. Of several for one field it is the one that was given.
    pub fn of(command: &Command, matches: &ArgMatches) -> Self {
        if let Some((name, matches)) = matches.subcommand()
            && let Some(command) = command.find_subcommand(name)
        {
            return Flags::of(command, matches);
        }
        let long = |id: &clap::Id| {
            let arg = command.get_arguments().find(|arg| arg.get_id() == id)?;
            Some(format!("--{}", arg.get_long()?))
        };
        let given = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let own = command.get_arguments().map(|arg| (arg.get_id(), arg.get_id()));
        let grouped = command.get_groups().filter_map(|group| {
            let args: Vec<&clap::Id> = group.get_args().collect();
            let said = args.iter().copied().find(given).or(args.first().copied())?;
            Some((group.get_id(), said))
        });
        let flags = own.chain(grouped).filter_map(|(field, id)| Some((field.to_string(), long(id)?)));
        Flags(flags.collect())
    }

    /// The sentence with flags in the place of fields. What is quoted in it stays as it is.
    pub fn told(&self, sentence: &str) -> String {
        let parts = sentence.split_inclusive(['"', '`']).enumerate();
        parts.map(|(at, part)| if at % 2 == 0 { self.put(part) } else { part.to_owned() }).collect()
    }

    fn put(&self, text: &str) -> String {
        let words = text.split_inclusive(' ').map(|word| {
            let name = word.trim_matches(|letter: char| !letter.is_alphanumeric());
            self.flag(name).map_or_else(|| word.to_owned(), |flag| word.replacen(name, flag, 1))
        });
        words.collect::<String>().replace("the --", "--")
    }

    /// The flag for a field, which may stand behind those that it lies in. A bare word says the same to anybody.
    fn flag(&self, name: &str) -> Option<&String> {
        let mut field = Some(name).filter(|name| name.contains(['_', '.']));
        while let Some(name) = field {
            if let Some(flag) = self.0.get(name) {
                return Some(flag);
            }
            field = name.split_once('.').map(|(_, inner)| inner);
        }
        None
    }
}

/// Lets what is below zero be a value, so that whoever reads it can say what is wrong with it: it would pass for a flag
/// that there is not.
pub fn signed(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_value_names().unwrap_or_default().first() {
        Some(name) if NUMBERS.contains(&name.as_str()) => arg.allow_negative_numbers(true),
        Some(name) if QUANTITIES.contains(&name.as_str()) => arg.allow_hyphen_values(true),
        _ => arg,
    });
    command.mut_subcommands(signed)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgGroup};

    use super::*;

    fn command() -> Command {
        let flag = |id: &'static str, long: &'static str| Arg::new(id).long(long);
        let inner = Command::new("inner")
            .args([flag("max_backoff", "max-backoff"), flag("key", "key"), flag("reason", "reason")])
            .args([flag("deliver_at", "deliver-at"), flag("delay", "delay")])
            .args([flag("wait", "wait").value_name("DURATION"), flag("jobs", "jobs").value_name("N")])
            .arg(Arg::new("sequence").value_name("SEQUENCE"))
            .group(ArgGroup::new("ordering_key").arg("key"))
            .group(ArgGroup::new("deliver_time").args(["deliver_at", "delay"]));
        signed(Command::new("outer").subcommand(inner))
    }

    fn told(words: &[&str], sentence: &str) -> String {
        let mut command = command();
        let matches = command.try_get_matches_from_mut([&["outer", "inner"], words].concat()).unwrap();
        Flags::of(&command, &matches).told(sentence)
    }

    #[test]
    fn fields_are_told_as_flags() {
        for (sentence, expected) in [
            ("max_backoff is 1s: it takes 2s", "--max-backoff is 1s: it takes 2s"),
            ("it has another one: retry_policy.max_backoff, not 3", "it has another one: --max-backoff, not 3"),
            ("the ordering_key has 300 bytes", "--key has 300 bytes"),
            ("settlements.reason has 300 bytes", "--reason has 300 bytes"),
            (
                "for what reason `max_backoff` and \"the ordering_key\"",
                "for what reason `max_backoff` and \"the ordering_key\"",
            ),
            ("a/max_backoff and max_backoff.txt", "a/max_backoff and max_backoff.txt"),
        ] {
            assert_eq!(told(&[], sentence), expected);
        }
    }

    #[test]
    fn of_several_it_is_the_one_that_was_given() {
        let sentence = "the deliver_time lies ahead";
        assert_eq!(told(&[], sentence), "--deliver-at lies ahead");
        assert_eq!(told(&["--delay", "1s"], sentence), "--delay lies ahead");
    }

    #[test]
    fn what_is_below_zero_is_a_value() {
        let matches = |words: &[&str]| command().try_get_matches_from([&["outer", "inner"], words].concat());
        assert!(matches(&["--wait", "-5s"]).is_ok() && matches(&["--jobs", "-1"]).is_ok() && matches(&["-1"]).is_ok());
        assert!(matches(&["--key", "--wait"]).is_err() && matches(&["--jobs", "--key"]).is_err());
    }
}
