//! `tilde subscription update`.

use prost_types::FieldMask;

use super::{
    describe,
    home::{Home, Name, Print, given},
    settings::Settings,
    webhook::Webhook,
};
use crate::{
    apps::{failure::Failure, pattern},
    pb::v1::{Subscription, UpdateSubscriptionRequest},
};

/// Change a subscription from now on; what is not named stays
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    name: Name,

    /// Which topics, instead of those that it has
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,

    #[command(flatten)]
    settings: Settings,

    #[command(flatten)]
    webhook: Webhook,

    /// Only if the subscription is still as it was when `show` printed this
    #[arg(long)]
    etag: Option<String>,

    #[command(flatten)]
    print: Print,
}

const EXAMPLES: &str = "\
Examples:
  tilde subscription update mails --ack-deadline 2m --max-attempts 10
  tilde subscription update mails 'orders/~' 'refunds/~'
  tilde subscription update mails --filter '' --max-rate none
  tilde subscription update hooks --push-secret-file both-secrets";

/// Runs it.
pub async fn run(args: &Args, home: &Home) -> anyhow::Result<()> {
    pattern::warn(&args.patterns);
    let request = args.request(home)?;
    let answer = home.subscriptions().await?.update_subscription(request).await;
    let answer = answer.map_err(|status| home.failure(status))?.into_inner();
    describe::print(&given(answer.subscription)?, None, args.print.format)
}

impl Args {
    fn request(&self, home: &Home) -> Result<UpdateSubscriptionRequest, Failure> {
        let mut subscription = Subscription {
            name: self.name.name.clone(),
            namespace: home.namespace(),
            topics: self.patterns.clone(),
            etag: self.etag.clone().unwrap_or_default(),
            ..Subscription::default()
        };
        let mut paths = self.settings.apply(&mut subscription);
        paths.extend(self.webhook.apply(&mut subscription)?);
        if !self.patterns.is_empty() {
            paths.push("topics".to_owned());
        }
        match paths.is_empty() {
            true => Err(Failure::usage("there is nothing to change: name at least one setting, see --help")),
            false => Ok(UpdateSubscriptionRequest {
                subscription: Some(subscription),
                update_mask: Some(FieldMask { paths }),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
        #[command(flatten)]
        home: Home,
    }

    fn request(words: &[&str]) -> Result<UpdateSubscriptionRequest, Failure> {
        let line = Line::try_parse_from([&["tilde"], words].concat()).unwrap();
        line.args.request(&line.home)
    }

    #[test]
    fn the_mask_names_what_was_given() {
        let request = request(&["s", "a~", "b", "--max-attempts", "3", "--etag", "e", "--namespace", "n"]).unwrap();
        assert_eq!(request.update_mask.unwrap().paths, ["retry_policy.max_attempts", "topics"]);
        let subscription = request.subscription.unwrap();
        assert_eq!((subscription.name.as_str(), subscription.namespace.as_str()), ("s", "n"));
        assert_eq!((subscription.topics, subscription.etag.as_str()), (vec!["a~".to_owned(), "b".to_owned()], "e"));
    }

    #[test]
    fn nothing_to_change_is_a_mistake() {
        assert!(request(&["s", "--etag", "e"]).unwrap_err().to_string().contains("nothing to change"));
    }
}
