//! Variables that look like settings and are none: a typo in a unit file would otherwise go unnoticed. Only warns, as
//! others set such variables too: Kubernetes sets `TILDE_PORT` for whatever runs beside a service named `tilde`.

/// What all our variables begin with.
const PREFIX: &str = "TILDE_";

/// Variables that are no settings of the broker, but ours: they name the file, and tell clients where to go.
const OTHERS: [&str; 3] = ["TILDE_CONFIG", "TILDE_BROKER", "TILDE_NAMESPACE"];

/// A sentence for each of `names` that could be meant as a setting and is none. `known` are the variables that are.
pub(super) fn strays<'a>(names: impl IntoIterator<Item = &'a str>, known: &[String]) -> Vec<String> {
    let known: Vec<&str> = known.iter().map(String::as_str).chain(OTHERS).collect();
    let mut strays: Vec<&str> = names.into_iter().filter(|name| name.starts_with(PREFIX)).collect();
    strays.retain(|name| !known.contains(name));
    strays.sort_unstable();
    let sentence = |stray: &str| match nearest(stray, &known) {
        Some(meant) => format!("environment {stray}: there is no such setting: is {meant} meant?"),
        None => format!("environment {stray}: there is no such setting: `tilde config show` prints all"),
    };
    strays.into_iter().map(sentence).collect()
}

/// The one that is meant: the one of which the least part must change, if that is less than half.
fn nearest<'a>(stray: &str, known: &[&'a str]) -> Option<&'a str> {
    let end = |name: &str| name.trim_start_matches(PREFIX).to_owned();
    let stray = end(stray);
    let percent = |known: &str| {
        let known = end(known);
        100 * strsim::levenshtein(&stray, &known) / stray.len().max(known.len()).max(1)
    };
    known
        .iter()
        .map(|known| (percent(known), *known))
        .min()
        .filter(|(changed, _)| *changed < 50)
        .map(|(_, meant)| meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_is_meant_is_told() {
        let known = ["TILDE_DATA", "TILDE_LISTEN", "TILDE_LOG", "TILDE_STORAGE_TAIL_BYTES"].map(String::from);
        let told = |name: &str| strays([name], &known).pop();
        assert!(told("TILDE_LISTN").unwrap().contains("TILDE_LISTN: there is no such setting: is TILDE_LISTEN meant?"));
        assert!(told("TILDE_TAIL_BYTES").unwrap().contains("is TILDE_STORAGE_TAIL_BYTES meant?"));
        assert!(told("TILDE_PORT_7126_TCP").unwrap().ends_with("`tilde config show` prints all"));
        for fine in ["TILDE_DATA", "TILDE_CONFIG", "TILDE_BROKER", "TILDE_NAMESPACE", "PATH", "tilde_dat"] {
            assert_eq!(told(fine), None, "{fine}");
        }
    }
}
