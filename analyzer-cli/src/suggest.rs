//! What a misspelt name may have meant.

/// Likeness from which on a name is worth suggesting: as clap has it for the names of options.
const ALIKE: f64 = 0.7;

/// The name that is most like `wrong`, if any is.
pub(crate) fn closest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name: &'a str| (strsim::jaro(wrong, name), name);
    let best = names.into_iter().map(likeness).max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 > ALIKE).then_some(best.1)
}

/// A question to follow the complaint about a name: `; did you mean ...?`, or nothing.
pub(crate) fn did_you_mean<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    closest(wrong, names).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_suggested_and_nothing_else() {
        let names = ["tcp-reset", "udp-stall", "transit-loss"];
        assert_eq!(closest("tcp-rest", names), Some("tcp-reset"));
        assert_eq!(closest("transitloss", names), Some("transit-loss"));
        assert_eq!(closest("qqq", names), None);
        assert_eq!(did_you_mean("udp_stall", names), "; did you mean `udp-stall`?");
        assert_eq!(did_you_mean("", names), "");
    }
}
