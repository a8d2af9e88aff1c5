//! Which files are of which point: the ways to say it, and what to answer when it was said wrongly.

use analyzer_core::capture::{expand, interfaces, is_stream};
use clap::CommandFactory;
use std::path::{Path, PathBuf};

use crate::args::{Analyze, Cli};
use crate::suggest::closest;

/// The files of both points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// Files, directories and patterns of point A.
    pub(crate) a: Vec<PathBuf>,
    /// Those of point B.
    pub(crate) b: Vec<PathBuf>,
    /// The interface of each point, where a file holds several.
    pub(crate) interfaces: [Option<String>; 2],
}

impl Inputs {
    /// What the command line says.
    pub(crate) fn new(asked: &Analyze) -> anyhow::Result<Self> {
        let interfaces = [asked.a_interface.clone(), asked.b_interface.clone()];
        let positional: Vec<&PathBuf> = asked.a.iter().chain(&asked.b).chain(&asked.surplus).collect();
        let named = !asked.a_files.is_empty() || !asked.b_files.is_empty();
        if let [first, ..] = positional.as_slice() {
            not_a_command(first)?;
        }
        let inputs = match positional.as_slice() {
            [] if named => {
                for (files, missing, given) in [(&asked.a_files, "--a", "--b"), (&asked.b_files, "--b", "--a")] {
                    if files.is_empty() {
                        anyhow::bail!("{given} needs {missing} beside it: pcapdiff --a FILE... --b FILE...");
                    }
                }
                Self { a: asked.a_files.clone(), b: asked.b_files.clone(), interfaces }
            }
            [] => anyhow::bail!("no captures are named: pcapdiff A B, where A is the inner one and B the outer one"),
            [..] if named => {
                anyhow::bail!(
                    "captures are named either as A B or behind --a and --b: pcapdiff --a FILE... --b FILE..."
                )
            }
            [one] => Self::one_file(one, interfaces)?,
            [a, b] => Self { a: vec![(*a).clone()], b: vec![(*b).clone()], interfaces },
            [.., last] => anyhow::bail!(
                "{}: more than two captures: name a directory or a pattern in quotes ('virbr0*.pcap') for each point, \
                 or the files behind --a and --b: pcapdiff --a FILE... --b FILE...",
                last.display()
            ),
        };
        let stdin = |files: &[PathBuf]| files.iter().any(|file| file == Path::new("-"));
        if stdin(&inputs.a) && stdin(&inputs.b) {
            anyhow::bail!("only one of the captures can come from standard input");
        }
        Ok(inputs)
    }

    /// The same captures, the other way round.
    pub(crate) fn swapped(&self) -> Self {
        let [a, b] = self.interfaces.clone();
        Self { a: self.b.clone(), b: self.a.clone(), interfaces: [b, a] }
    }

    /// The first of them that can be read only once.
    pub(crate) fn stream(&self) -> Option<&Path> {
        self.a.iter().chain(&self.b).map(PathBuf::as_path).find(|path| is_stream(path))
    }

    /// Both points in one file.
    fn one_file(file: &Path, interfaces: [Option<String>; 2]) -> anyhow::Result<Self> {
        if file == Path::new("-") {
            anyhow::bail!(
                "standard input alone cannot hold both points, since it is read once for each: save it to a file first"
            );
        }
        if interfaces.iter().all(Option::is_some) {
            let files = vec![file.to_owned()];
            return Ok(Self { a: files.clone(), b: files, interfaces });
        }
        let name = file.display();
        let mut listed = Vec::new();
        for path in expand(&[file.to_owned()])?.iter().take(1) {
            listed = self::interfaces(path)?;
        }
        let names: Vec<String> = listed.iter().map(ToString::to_string).collect();
        match listed.as_slice() {
            [] | [_] => anyhow::bail!(
                "{name}: a single capture with {}: name a second one (pcapdiff A B)",
                if names.is_empty() { "no packets" } else { "one interface" }
            ),
            [first, second, ..] => anyhow::bail!(
                "{name}: a single capture of {} interfaces: {}. Say which is inside (A) and which outside (B), e.g. \
                 pcapdiff {name} --a-interface {} --b-interface {}; or name a second capture",
                listed.len(),
                names.join(", "),
                if first.name.is_empty() { first.number.to_string() } else { first.name.clone() },
                if second.name.is_empty() { second.number.to_string() } else { second.name.clone() },
            ),
        }
    }

    /// All files that will be read, as far as they are known.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let files = |paths: &[PathBuf]| expand(paths).unwrap_or_else(|_| paths.to_vec());
        [files(&self.a), files(&self.b)].concat()
    }
}

/// A misspelt command is taken for a capture that is not there.
fn not_a_command(path: &Path) -> anyhow::Result<()> {
    let Some(name) = path.to_str().filter(|name| *name != "-" && !path.exists()) else { return Ok(()) };
    let command = Cli::command();
    match closest(name, command.get_subcommands().map(clap::Command::get_name)) {
        Some(meant) => anyhow::bail!("{name}: no such file; did you mean `pcapdiff {meant}`?"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn inputs(arguments: &[&str]) -> Result<Inputs, String> {
        let cli = Cli::try_parse_from(std::iter::once("pcapdiff").chain(arguments.iter().copied()));
        Inputs::new(&cli.map_err(|error| error.to_string())?.analyze).map_err(|error| error.to_string())
    }

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn captures_are_named_in_three_ways() {
        let pair = inputs(&["a.pcap", "b.pcap"]).unwrap();
        assert_eq!((pair.a, pair.b), (paths(&["a.pcap"]), paths(&["b.pcap"])));
        let sets = inputs(&["--a", "a1", "a2", "--b", "b1", "--b", "b2", "-q"]).unwrap();
        assert_eq!((sets.a, sets.b), (paths(&["a1", "a2"]), paths(&["b1", "b2"])));
        let one = inputs(&["both.pcapng", "--a-interface", "virbr0", "--b-interface", "1"]).unwrap();
        assert_eq!((one.a, one.b), (paths(&["both.pcapng"]), paths(&["both.pcapng"])));
        assert_eq!(one.interfaces, [Some("virbr0".to_owned()), Some("1".to_owned())]);
    }

    #[test]
    fn wrong_usage_is_answered_with_the_right_one() {
        for (arguments, part) in [
            (&["--a", "x"][..], "--a needs --b beside it"),
            (&["a", "b", "c"], "--a FILE... --b FILE..."),
            (&["a", "--a", "b"], "either as A B or behind --a and --b"),
            (&["-", "-"], "only one of the captures"),
            (&["-", "--a-interface", "0", "--b-interface", "1"], "save it to a file first"),
            (&["no-such.pcap"], "no-such.pcap: "),
        ] {
            let error = inputs(arguments).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
