//! `tilde subscription create`.

use super::{
    describe,
    home::{Home, Name, Print, given},
    settings::Settings,
    webhook::Webhook,
};
use crate::{
    apps::{failure::Failure, pattern, start::Start},
    pb::v1::{CreateSubscriptionRequest, Subscription, start_position::Position},
};

/// Create a subscription; the same again is no error
///
/// What is published after this is delivered; --from says what else. With another specification than it has it is refused.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    name: Name,

    /// Which topics: `orders/~` is every topic that begins with orders/; quote the `~` where the shell would replace it
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,

    /// Where to begin: `new`, `earliest` (everything still kept), a sequence as in 1042, a time as in 2026-11-21T10:00:00Z
    /// or how long ago as in 2h, or a cursor [broker's default: new]
    #[arg(long, value_name = "POSITION", group = "start")]
    from: Option<Start>,

    /// Begin with the last N messages that match, at most 100,000; then new ones
    #[arg(long, value_name = "N", conflicts_with = "from", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(group = "last_messages")]
    last: Option<u32>,

    #[command(flatten)]
    settings: Settings,

    #[command(flatten)]
    webhook: Webhook,

    #[command(flatten)]
    print: Print,
}

const EXAMPLES: &str = "\
Examples:
  tilde subscription create mails 'orders/~' --from earliest
  tilde subscription create audit '~' --order exclusive --max-attempts never
  tilde subscription create images 'uploads/~' --filter 'content_type.startsWith(\"image/\")' \\
      --ack-deadline 5m --min-backoff 10s --max-attempts 3 --max-outstanding 20
  tilde subscription create hooks 'orders/~' --push-url https://example.com/hook \\
      --push-secret-file secret";

/// Runs it.
pub async fn run(args: &Args, home: &Home) -> anyhow::Result<()> {
    pattern::warn(&args.patterns);
    let request = CreateSubscriptionRequest { subscription: Some(args.subscription(home)?) };
    let answer = home.subscriptions().await?.create_subscription(request).await;
    let answer = answer.map_err(|status| home.failure(status))?.into_inner();
    describe::print(&given(answer.subscription)?, Some(answer.created), args.print.format)
}

impl Args {
    fn subscription(&self, home: &Home) -> Result<Subscription, Failure> {
        let last = self.last.map(|last| Start(Position::LastMessages(last)));
        let mut subscription = Subscription {
            name: self.name.name.clone(),
            namespace: home.namespace(),
            topics: self.patterns.clone(),
            start: last.or_else(|| self.from.clone()).map(Into::into),
            ..Subscription::default()
        };
        self.settings.apply(&mut subscription);
        self.webhook.apply(&mut subscription)?;
        Ok(subscription)
    }
}
