//! `tilde subscription list`.

use super::{
    describe::{self, Object},
    home::{Home, Print},
};
use crate::{
    apps::{
        output::{self, Column, Format, Table},
        remote,
    },
    pb::v1::{ListSubscriptionsRequest, Subscription},
};

/// All subscriptions, by name
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only those with a pattern for this topic; their filters are not asked
    #[arg(long)]
    topic: Option<String>,

    #[command(flatten)]
    print: Print,
}

const COLUMNS: &[Column] = &[
    Column::Left("SUBSCRIPTION"),
    Column::Left("STATE"),
    Column::Right("BACKLOG"),
    Column::Right("OLDEST"),
    Column::Right("OUTSTANDING"),
    Column::Right("CONSUMERS"),
    Column::Left("TOPICS"),
];

/// Runs it.
pub async fn run(args: &Args, home: &Home) -> anyhow::Result<()> {
    let mut client = home.subscriptions().await?;
    let mut table = Table::new(COLUMNS);
    let mut page_token = String::new();
    loop {
        let request = ListSubscriptionsRequest {
            namespace: home.namespace(),
            topic: args.topic.clone().unwrap_or_default(),
            page_size: remote::PAGE_ROWS,
            page_token,
        };
        let page = client.list_subscriptions(request).await.map_err(|status| home.failure(status))?.into_inner();
        for subscription in &page.subscriptions {
            match args.print.format {
                Format::Json => output::json(&Object::new(subscription, None))?,
                Format::Text => table.row(row(subscription)),
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    match args.print.format {
        Format::Text => Ok(table.print()?),
        Format::Json => Ok(()),
    }
}

fn row(subscription: &Subscription) -> Vec<String> {
    let stats = subscription.stats.unwrap_or_default();
    vec![
        subscription.name.clone(),
        describe::state(subscription),
        stats.backlog_messages.to_string(),
        describe::age(&stats),
        stats.outstanding_messages.to_string(),
        stats.consumers.to_string(),
        topics(&subscription.topics),
    ]
}

/// As many as people compare.
fn topics(patterns: &[String]) -> String {
    const NAMED: usize = 3;
    match patterns.len() {
        0..=NAMED => patterns.join(" "),
        more => format!("{} and {} more", patterns[..NAMED].join(" "), more - NAMED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_patterns_are_counted() {
        let patterns = |count: u32| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(topics(&patterns(3)), "0 1 2");
        assert_eq!(topics(&patterns(5)), "0 1 2 and 2 more");
    }
}
