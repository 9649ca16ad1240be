//! Flags as some command lines write them: with one dash before a long name, and `_` within. `-source_topic`,
//! `--source_topic` and `--source-topic` are one flag. Pure; only the names of flags are changed, never a value.

use std::ffi::OsString;

use clap::{Arg, Command};

/// Who takes flags so.
const COMMANDS: [&str; 2] = ["events", "route"];

/// The arguments of a command line, with every flag that one of these commands has as clap knows it.
pub fn doubled(command: &Command, arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let name = arguments.get(1).and_then(|name| name.to_str()).filter(|name| COMMANDS.contains(name));
    let Some(command) = name.and_then(|name| command.find_subcommand(name)) else { return arguments };
    let mut before: Option<&Arg> = None;
    for argument in arguments.iter_mut().skip(2).take_while(|argument| *argument != "--") {
        // What may begin with a dash is a value, whatever it is.
        if before.take().is_some_and(Arg::is_allow_hyphen_values_set) {
            continue;
        }
        let Some((flag, text)) = argument.to_str().and_then(|text| find(command, text)) else { continue };
        before = Some(flag).filter(|_| !text.contains('='));
        *argument = text.into();
    }
    arguments
}

/// The flag that an argument is, and how clap writes that.
fn find<'a>(command: &'a Command, argument: &str) -> Option<(&'a Arg, String)> {
    let text = argument.strip_prefix('-')?;
    let text = text.strip_prefix('-').unwrap_or(text);
    let (name, value) = text.split_at(text.find('=').unwrap_or(text.len()));
    let name = name.replace('_', "-");
    let has_name = |arg: &&Arg| arg.get_long_and_visible_aliases().unwrap_or_default().contains(&name.as_str());
    Some((command.get_arguments().find(has_name)?, format!("--{name}{value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubled(words: &[&str]) -> Vec<String> {
        let flag = |name: &'static str| Arg::new(name).long(name);
        let sub = |name: &'static str| {
            let flags = [flag("source-topic"), flag("list"), flag("wait").allow_hyphen_values(true)];
            Command::new(name).args(flags).arg(flag("broker").short('b').visible_alias("bootstrap-server"))
        };
        let command = Command::new("tilde").subcommands([sub("events"), sub("publish")]);
        let words = ["tilde"].iter().chain(words).map(OsString::from);
        super::doubled(&command, words).into_iter().skip(1).map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn a_flag_is_the_same_however_it_is_written() {
        for written in ["-source_topic", "--source_topic", "-source-topic", "--source-topic"] {
            assert_eq!(doubled(&["events", written, "a_b"]), ["events", "--source-topic", "a_b"]);
            let with = format!("{written}=-a_b=c");
            assert_eq!(doubled(&["events", &with]), ["events", "--source-topic=-a_b=c"]);
        }
        assert_eq!(doubled(&["events", "-bootstrap_server", "a:1"]), ["events", "--bootstrap-server", "a:1"]);
        let list = doubled(&["events", "-list", "A", "list", "C", "-wait", "1"]);
        assert_eq!(list, ["events", "--list", "A", "list", "C", "--wait", "1"]);
    }

    #[test]
    fn nothing_else_is_touched() {
        for words in [
            &["events", "-h"][..],
            &["events", "-V", "-b", "x", "-bx", "-5", "-", "source_topic", "-source_topics", "-unknown=source_topic"],
            &["events", "--", "-source_topic"],
            &["events", "--wait", "-source_topic", "x"],
            &["publish", "-source_topic", "x"],
            &["-source_topic"],
            &[],
        ] {
            assert_eq!(doubled(words), words);
        }
        // Only the value itself may be anything.
        let after = doubled(&["events", "--wait", "-5", "-source_topic"]);
        assert_eq!(after, ["events", "--wait", "-5", "--source-topic"]);
        assert_eq!(doubled(&["events", "--wait=-5", "-source_topic"]), ["events", "--wait=-5", "--source-topic"]);
    }
}
