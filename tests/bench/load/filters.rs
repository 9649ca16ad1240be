//! Filters: what it costs to match messages against many distinct ones, with no broker around it. Every message is
//! asked about as at the live edge of a namespace in which all of them are in use, on one thread.

use std::{fs, time::Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tilde::model::{
    Filter, Message, Payload, Record, Records, Sequence, Stamp, Timestamp, Topic, filter::Program, limits,
};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    /// Messages.
    #[arg(long, default_value_t = 1_000_000)]
    messages: usize,
    /// Distinct filters.
    #[arg(long, default_value_t = 100)]
    filters: usize,
}

/// Messages that differ; they are asked about in turn. As many as a block may hold, so that they are in no cache.
const DISTINCT: usize = 64 << 10;
/// Messages that are asked about at a time.
const GROUP: usize = 64;

/// Asks, and says what it took.
pub async fn run(args: Args) -> Result<Value> {
    let filters = (0..args.filters).map(filter).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let program = Program::new(&filters);
    let prepared = started.elapsed();

    let bytes = encode(DISTINCT)?;
    let records: Vec<Record<'_>> = Records::new(&bytes).flatten().collect();
    let (mut asked, mut taken) = (0, 0);
    let (started, before) = (Instant::now(), processor_ns()?);
    while asked < args.messages {
        let group = &records[asked % DISTINCT..][..GROUP];
        let rows = u64::MAX >> (GROUP - GROUP.min(args.messages - asked));
        let answers = program.run(rows, |at| group[at]);
        taken += answers.iter().map(|answer| u64::from(answer.count_ones())).sum::<u64>();
        asked += GROUP;
    }
    let seconds = started.elapsed().as_secs_f64();
    let together = (processor_ns()? - before) / args.messages as f64;

    // The same, each filter by itself: what it would cost if they shared nothing.
    let alone: Vec<_> = filters.iter().map(|filter| Program::new([filter])).collect();
    let few = (args.messages / 20).max(GROUP);
    let before = processor_ns()?;
    for asked in (0..few).step_by(GROUP) {
        let group = &records[asked % DISTINCT..][..GROUP];
        alone.iter().for_each(|program| drop(program.run(u64::MAX, |at| group[at])));
    }
    let alone = (processor_ns()? - before) / few as f64;
    Ok(json!({
        "figure": "filters",
        "messages": args.messages,
        "filters": args.filters,
        "bytes_per_message": bytes.len() / DISTINCT,
        "messages_per_second": (args.messages as f64 / seconds).round(),
        "cpu_ns_per_message": together.round(),
        "cpu_ns_per_message_unshared": alone.round(),
        "taken": taken,
        "prepare_us": prepared.as_micros() as u64,
    }))
}

/// What this thread has had of a processor: it says the same on a machine that is shared.
fn processor_ns() -> Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().context("the first number is the time on a processor")?.parse()?)
}

/// The filters that people write: by type, by topic, by both, by a list, by what is there, and by a part of a text.
fn filter(n: usize) -> Result<Filter> {
    let text = match n % 8 {
        0 => format!("attributes.type == \"type-{n}\""),
        1 => format!("attributes.type == \"type-{n}\" && attributes.important == \"true\""),
        2 => format!("attributes[\"ce-source\"] in [\"source-{n}\", \"source-{}\"]", n + 1),
        3 => format!("topic.startsWith(\"team-{n}/\") && attributes.region != \"region-0\""),
        4 => format!("attributes.region == \"region-{}\" || attributes.type == \"type-{n}\"", n % 5),
        5 => format!("attributes.important == \"true\" && topic.contains(\"/docs-{n}/\")"),
        6 => format!("has(attributes.tenant) && attributes.tenant == \"tenant-{n}\""),
        _ => format!("!(attributes.region in [\"region-1\", \"region-2\"]) && ordering_key == \"key-{n}\""),
    };
    Filter::parse(&text)?.context("it is not empty")
}

fn encode(count: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for n in 0..count {
        let topic = Topic::parse(format!("team-{}/docs-{}/item", n % 40, n % 56))?;
        let mut message = Message::new(topic, Payload::Data(vec![7; 128].into()));
        message.ordering_key = format!("key-{}", n % 48).into();
        let attributes = [
            ("type", format!("type-{}", n % 104)),
            ("important", (n % 3 == 0).to_string()),
            ("ce-source", format!("source-{}", n % 64)),
            ("region", format!("region-{}", n % 5)),
        ];
        message.attributes = attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let start = bytes.len();
        message.encode(limits::MESSAGE_BYTES, &mut bytes)?;
        Stamp::new(Timestamp::EPOCH).put(&mut bytes[start..], Sequence(n as u64 + 1));
    }
    Ok(bytes)
}
