//! Where a subscription sends its messages by itself, as flags. What is not given is left to the broker.

use std::{fs, path::PathBuf};

use crate::{
    apps::{failure::Failure, output::wire_duration},
    pb::v1::{PushConfig, PushFormat, Subscription},
    units::Span,
};

/// Where --help lists them.
const WEBHOOK: &str = "Webhook";

/// All that can be set of a webhook.
#[derive(clap::Args, Debug, Default)]
pub struct Webhook {
    /// Send each message on by an HTTP POST to this http or https URL
    #[arg(help_heading = WEBHOOK, long, value_name = "URL", group = "push_config.url")]
    push_url: Option<String>,

    /// Sign with this, `whsec_` and the base64 of 24 to 64 bytes; twice while receivers learn the second. All that there
    /// were are replaced; `none` leaves none. Others on this machine can read it: --push-secret-file keeps it from them
    #[arg(help_heading = WEBHOOK, long = "push-secret", value_name = "SECRET", group = "push_config.secrets")]
    push_secrets: Vec<String>,

    /// Sign with what stands in this file, a secret a line
    #[arg(help_heading = WEBHOOK, long, value_name = "FILE", group = "push_config.secrets")]
    push_secret_file: Option<PathBuf>,

    /// What is sent of a message [broker's default: envelope]
    #[arg(help_heading = WEBHOOK, long, value_enum, value_name = "FORMAT", group = "push_config.format")]
    push_format: Option<Format>,

    /// How long an answer may take, 1s to the ack deadline; 0s is the broker's default [broker's default: 10s]
    #[arg(help_heading = WEBHOOK, long, value_name = "DURATION", group = "push_config.timeout")]
    push_timeout: Option<Span>,

    /// Pushes that may await their answer at the same time, 1 to 1000 [broker's default: 16]
    #[arg(help_heading = WEBHOOK, long, value_name = "N", group = "push_config.max_in_flight")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    push_max_in_flight: Option<u32>,

    /// A header that is sent with each, up to 32 times. All that there were are replaced; `NAME=` keeps the value that it
    /// has, `none` leaves none
    #[arg(help_heading = WEBHOOK, long = "push-header", value_name = "NAME=VALUE", value_parser = header)]
    #[arg(group = "push_config.headers")]
    push_headers: Vec<Header>,

    /// Send nothing on any more: consumers fetch what there is
    #[arg(help_heading = WEBHOOK, long, conflicts_with_all = ["push_url", "push_secrets", "push_secret_file"])]
    #[arg(conflicts_with_all = ["push_format", "push_timeout", "push_max_in_flight", "push_headers"])]
    no_push: bool,
}

/// What is sent of a message.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Format {
    /// JSON: the message, and where it comes from
    Envelope,
    /// The payload alone, the rest as headers
    Raw,
    /// CloudEvents 1.0 in binary mode
    Cloudevents,
}

/// A header, or none at all.
type Header = Option<(String, String)>;

impl Webhook {
    /// Puts what was given into `subscription`, and names it as the field mask does.
    pub fn apply(&self, subscription: &mut Subscription) -> Result<Vec<String>, Failure> {
        if self.no_push {
            return Ok(vec!["push_config".to_owned()]);
        }
        let secrets = self.secrets()?;
        let given = [
            ("url", self.push_url.is_some()),
            ("secrets", secrets.is_some()),
            ("max_in_flight", self.push_max_in_flight.is_some()),
            ("timeout", self.push_timeout.is_some()),
            ("headers", !self.push_headers.is_empty()),
            ("format", self.push_format.is_some()),
        ];
        let paths: Vec<_> =
            given.iter().filter(|(_, given)| *given).map(|(part, _)| format!("push_config.{part}")).collect();
        if !paths.is_empty() {
            subscription.push_config = Some(PushConfig {
                url: self.push_url.clone().unwrap_or_default(),
                secrets: secrets.unwrap_or_default(),
                max_in_flight: self.push_max_in_flight.unwrap_or_default(),
                timeout: self.push_timeout.filter(|span| !span.0.is_zero()).map(|span| wire_duration(span.0)),
                headers: self.push_headers.iter().flatten().cloned().collect(),
                format: self.push_format.map_or(0, |format| format.wire().into()),
                secret_count: 0,
            });
        }
        Ok(paths)
    }

    fn secrets(&self) -> Result<Option<Vec<String>>, Failure> {
        let Some(file) = &self.push_secret_file else {
            let secrets = self.push_secrets.iter().filter(|secret| *secret != "none");
            return Ok((!self.push_secrets.is_empty()).then(|| secrets.cloned().collect()));
        };
        let text = fs::read_to_string(file)
            .map_err(|error| Failure::new(format!("the secrets cannot be read from {}: {error}", file.display())))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(Some(lines.map(str::to_owned).collect()))
    }
}

impl Format {
    fn wire(self) -> PushFormat {
        match self {
            Format::Envelope => PushFormat::Envelope,
            Format::Raw => PushFormat::Raw,
            Format::Cloudevents => PushFormat::Cloudevents,
        }
    }
}

fn header(text: &str) -> Result<Header, String> {
    match text.split_once('=') {
        None if text == "none" => Ok(None),
        Some((name, value)) if !name.is_empty() => Ok(Some((name.to_owned(), value.to_owned()))),
        _ => Err("write it as NAME=VALUE, or `none`".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        webhook: Webhook,
    }

    fn applied(flags: &[&str]) -> (Option<PushConfig>, Vec<String>) {
        let line = Line::try_parse_from([&["tilde"], flags].concat()).unwrap();
        let mut subscription = Subscription::default();
        let paths = line.webhook.apply(&mut subscription).unwrap();
        (subscription.push_config, paths)
    }

    #[test]
    fn everything_has_a_flag() {
        assert_eq!(applied(&[]), (None, vec![]));
        let url = ["--push-url", "http://a/b", "--push-format", "cloudevents", "--push-timeout", "5s"];
        let rest = ["--push-secret", "a", "--push-secret", "b", "--push-max-in-flight", "9", "--push-header", "x=y=z"];
        let expected = PushConfig {
            url: "http://a/b".into(),
            secrets: vec!["a".into(), "b".into()],
            max_in_flight: 9,
            timeout: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            headers: [("x".into(), "y=z".into())].into(),
            format: PushFormat::Cloudevents.into(),
            secret_count: 0,
        };
        let fields = ["url", "secrets", "max_in_flight", "timeout", "headers", "format"];
        let paths = fields.map(|field| format!("push_config.{field}")).to_vec();
        assert_eq!(applied(&[&url[..], &rest].concat()), (Some(expected), paths));
    }

    #[test]
    fn what_was_set_can_be_taken_back() {
        assert_eq!(applied(&["--no-push"]), (None, vec!["push_config".to_owned()]));
        let (config, paths) = applied(&["--push-secret", "none", "--push-header", "none", "--push-timeout", "0s"]);
        assert_eq!(config, Some(PushConfig::default()));
        assert_eq!(paths, ["push_config.secrets", "push_config.timeout", "push_config.headers"]);
        for two in [["--no-push", "--push-url=http://a"], ["--push-secret=a", "--push-secret-file=b"]] {
            assert!(Line::try_parse_from([&["tilde"], &two[..]].concat()).is_err());
        }
    }

    #[test]
    fn secrets_come_from_a_file_a_line_each() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secrets");
        fs::write(&file, "whsec_a\n\n whsec_b \n").unwrap();
        let (config, _) = applied(&["--push-secret-file", file.to_str().unwrap()]);
        assert_eq!(config.unwrap().secrets, ["whsec_a", "whsec_b"]);
        let line = Line::try_parse_from(["tilde", "--push-secret-file", "/nowhere/at/all"]).unwrap();
        let failure = line.webhook.apply(&mut Subscription::default()).unwrap_err();
        assert!(failure.to_string().contains("cannot be read from /nowhere/at/all"), "{failure}");
    }
}
