//! Defaults from `pcapdiff.toml`: which file is read, what may stand in it, and what to say when it is wrong.
//!
//! One file is read: the nearest `pcapdiff.toml` in the current folder or one above it (the project's), else the user's,
//! as with ruff and rustfmt; files are not merged. The command line wins over the file. A file cannot name captures or
//! places to write to: it may come with a folder of somebody else's captures.

use anyhow::Context;
use clap::ArgMatches;
use clap::parser::ValueSource;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use analyzer_core::detect::SPECS;

use crate::args::{Analyze, MinSeverity, When, known_threshold};
use crate::memory;
use crate::render::Format;
use crate::suggest::{closest, did_you_mean};

/// Its name, wherever it is.
const NAME: &str = "pcapdiff.toml";

/// What a file may say. Every key is called as the option whose default it sets.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    format: Option<Format>,
    color: Option<When>,
    progress: Option<When>,
    quiet: Option<bool>,
    verbose: Option<bool>,
    only: Option<Vec<Id>>,
    ignore: Option<Vec<Id>>,
    min_severity: Option<MinSeverity>,
    min_confidence: Option<Confidence>,
    thresholds: Thresholds,
    threads: Option<usize>,
    memory: Option<Memory>,
}

/// The id of a finding.
#[derive(Debug)]
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        if SPECS.iter().any(|spec| spec.id == id) {
            return Ok(Self(id));
        }
        let meant = did_you_mean(&id, SPECS.iter().map(|spec| spec.id));
        Err(D::Error::custom(format!("no finding is called `{id}`{meant}")))
    }
}

/// A confidence: 0 to 1.
#[derive(Debug)]
struct Confidence(f64);

impl<'de> Deserialize<'de> for Confidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(D::Error::custom("expected a number from 0 to 1"))
        }
    }
}

/// A limit of memory: `"512M"`.
#[derive(Debug)]
struct Memory(u64);

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        memory::size(&String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

/// Thresholds by name: `"tcp-reset.idle" = 60`, or `tcp-reset.idle = 60`, which is a table in a table for TOML.
#[derive(Debug, Default)]
struct Thresholds(BTreeMap<String, f64>);

impl<'de> Deserialize<'de> for Thresholds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InTable { of: None }).map(Self)
    }
}

/// The thresholds in the table of one detector, or in the table of all.
struct InTable<'a> {
    of: Option<&'a str>,
}

impl<'de> Visitor<'de> for InTable<'_> {
    type Value = BTreeMap<String, f64>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a table of thresholds: \"NAME\" = NUMBER")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let name = self.of.map_or_else(|| key.clone(), |of| format!("{of}.{key}"));
            if self.of.is_none() && SPECS.iter().any(|spec| spec.id == key) {
                all.extend(map.next_value_seed(OfDetector(&key))?);
                continue;
            }
            let value = map.next_value_seed(ValueOf(&name))?;
            all.insert(name, value);
        }
        Ok(all)
    }
}

/// The table of one detector.
struct OfDetector<'a>(&'a str);

impl<'de> serde::de::DeserializeSeed<'de> for OfDetector<'_> {
    type Value = BTreeMap<String, f64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(InTable { of: Some(self.0) })
    }
}

/// The value of a threshold. The name is judged here: a mistake is told where the value stands.
struct ValueOf<'a>(&'a str);

impl<'de> serde::de::DeserializeSeed<'de> for ValueOf<'_> {
    type Value = f64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        known_threshold(self.0).map_err(D::Error::custom)?;
        f64::deserialize(deserializer)
    }
}

/// Fills in what the command line leaves open, and returns the file that was read, if any.
pub(crate) fn apply(asked: &mut Analyze, matches: &ArgMatches) -> anyhow::Result<Option<PathBuf>> {
    if asked.no_config {
        return Ok(None);
    }
    let path = match &asked.config {
        Some(path) => path.clone(),
        None => match find() {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let config = parse(&text).map_err(|(line, reason)| anyhow::anyhow!("{}:{line}: {reason}", path.display()))?;
    fill(asked, config, &|option| {
        !matches!(matches.value_source(option), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    });
    Ok(Some(path))
}

/// The project's file, or the user's.
fn find() -> Option<PathBuf> {
    let here = std::env::current_dir().ok();
    let project =
        here.as_deref().and_then(|here| here.ancestors().map(|folder| folder.join(NAME)).find(|path| path.is_file()));
    project.or_else(|| user_file(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)))
}

/// The user's file: in `$XDG_CONFIG_HOME` or `~/.config`, on Windows in `%APPDATA%`.
fn user_file(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let folder = if cfg!(windows) {
        variable("APPDATA")
    } else {
        // The specification has relative paths ignored.
        variable("XDG_CONFIG_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| variable("HOME").map(|home| home.join(".config")))
    };
    folder.map(|folder| folder.join("pcapdiff").join(NAME)).filter(|path| path.is_file())
}

/// What a file says, or its line and what is wrong there.
fn parse(text: &str) -> Result<Config, (usize, String)> {
    let config: Config = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        (before.matches('\n').count() + 1, explain(error.message()))
    })?;
    if config.quiet == Some(true) && config.verbose == Some(true) {
        let line = text.lines().position(|line| line.trim_start().starts_with("verbose")).unwrap_or_default() + 1;
        return Err((line, "`quiet` and `verbose` exclude each other".into()));
    }
    Ok(config)
}

/// serde lists every name that it knows; the one that was meant is enough.
fn explain(message: &str) -> String {
    for (kind, start) in [("key", "unknown field `"), ("value", "unknown variant `")] {
        let Some((wrong, rest)) = message.strip_prefix(start).and_then(|rest| rest.split_once('`')) else { continue };
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let hint = closest(wrong, known.iter().copied())
            .map_or_else(|| format!("; known are {}", known.join(", ")), |name| format!("; did you mean `{name}`?"));
        return format!("unknown {kind} `{wrong}`{hint}");
    }
    message.lines().collect::<Vec<_>>().join(" ")
}

/// Sets what is `open`: options that the command line does not have.
fn fill(asked: &mut Analyze, config: Config, open: &dyn Fn(&str) -> bool) {
    fn set<T>(place: &mut T, value: Option<T>, open: bool) {
        if let Some(value) = value.filter(|_| open) {
            *place = value;
        }
    }
    let Config { format, color, progress, quiet, verbose, only, ignore, min_severity, min_confidence, .. } = config;
    set(&mut asked.format, format, open("format"));
    set(&mut asked.color, color, open("color"));
    set(&mut asked.progress, progress, open("progress"));
    // One takes the place of the other, as they exclude each other.
    let terse = open("quiet") && open("verbose");
    set(&mut asked.quiet, quiet, terse);
    set(&mut asked.verbose, verbose, terse);
    let ids = |list: Option<Vec<Id>>| list.map(|list| list.into_iter().map(|id| id.0).collect());
    set(&mut asked.only, ids(only), open("only"));
    set(&mut asked.ignore, ids(ignore), open("ignore"));
    set(&mut asked.min_severity, min_severity, open("min_severity"));
    set(&mut asked.min_confidence, min_confidence.map(|value| value.0), open("min_confidence"));
    set(&mut asked.threads, config.threads, open("threads"));
    set(&mut asked.memory, config.memory.map(|value| Some(value.0)), open("memory"));
    // Those of the command line come later and so win, name by name.
    let thresholds = std::mem::take(&mut asked.thresholds);
    asked.thresholds = config.thresholds.0.into_iter().chain(thresholds).collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::{CommandFactory, FromArgMatches};
    use std::path::Path;

    /// What is asked for by a file and a command line together.
    fn with(text: &str, arguments: &[&str]) -> Analyze {
        let all = ["pcapdiff", "a", "b"].into_iter().chain(arguments.iter().copied());
        let matches = Cli::command().try_get_matches_from(all).unwrap();
        let mut asked = Cli::from_arg_matches(&matches).unwrap().analyze;
        let open = |option: &str| matches.value_source(option) != Some(ValueSource::CommandLine);
        fill(&mut asked, parse(text).unwrap(), &open);
        asked
    }

    const ALL: &str = "\
format = \"json\"
color = \"never\"
progress = \"always\"
verbose = true
only = [\"tcp-reset\", \"udp-stall\"]
ignore = [\"offload-artifact\"]
min-severity = \"warning\"
min-confidence = 0.5
threads = 3
memory = \"1G\"

[thresholds]
\"tcp-reset.answer\" = 20
udp-stall.packets = 7.5
";

    #[test]
    fn a_file_sets_defaults() {
        let asked = with(ALL, &[]);
        assert_eq!((asked.format, asked.color, asked.progress), (Format::Json, When::Never, When::Always));
        assert_eq!((asked.quiet, asked.verbose, asked.threads), (false, true, 3));
        assert_eq!(asked.memory, Some(1 << 30));
        assert_eq!((asked.only.len(), asked.ignore.as_slice()), (2, &["offload-artifact".to_owned()][..]));
        assert_eq!((asked.min_severity, asked.min_confidence), (MinSeverity::Warning, 0.5));
        assert_eq!(asked.thresholds, [("tcp-reset.answer".to_owned(), 20.0), ("udp-stall.packets".to_owned(), 7.5)]);
    }

    #[test]
    fn the_command_line_wins() {
        let options = ["-f", "csv", "--color", "auto", "-q", "--only", "mac-move", "--min-severity", "info"];
        let asked = with(ALL, &[&options[..], &["-j", "0", "--threshold", "tcp-reset.answer=30"]].concat());
        assert_eq!((asked.format, asked.color, asked.threads), (Format::Csv, When::Auto, 0));
        assert_eq!((asked.quiet, asked.verbose), (true, false));
        assert_eq!((asked.only, asked.min_severity), (vec!["mac-move".to_owned()], MinSeverity::Info));
        // What it does not name stays as the file has it.
        assert_eq!(asked.min_confidence, 0.5);
        let thresholds: BTreeMap<String, f64> = asked.thresholds.into_iter().collect();
        assert_eq!((thresholds["tcp-reset.answer"], thresholds["udp-stall.packets"]), (30.0, 7.5));
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_what_was_meant() {
        for (text, line, part) in [
            ("\nformt = \"json\"", 2, "unknown key `formt`; did you mean `format`?"),
            ("format = \"jsn\"", 1, "unknown value `jsn`; did you mean `json`?"),
            ("qqq = 1", 1, "unknown key `qqq`; known are format, "),
            ("threads = 2\n\n\nonly = [\"tcp-rest\"]", 4, "no finding is called `tcp-rest`; did you mean `tcp-reset`?"),
            ("min-confidence = 1.5", 1, "expected a number from 0 to 1"),
            ("threads = \"many\"", 1, "invalid type: string"),
            ("memory = \"much\"", 1, "expected a size such as 512M or 4G"),
            ("[thresholds]\n\"tcp-reset.anser\" = 1", 2, "did you mean `tcp-reset.answer`?"),
            ("[thresholds.tcp-reset]\nanser = 1", 2, "did you mean `tcp-reset.answer`?"),
            ("[thresholds]\ntcp-reset.answer = \"x\"", 2, "invalid type: string"),
            ("threads = \n", 1, ""),
            ("quiet = true\nverbose = true", 2, "exclude each other"),
        ] {
            let (found, reason) = parse(text).unwrap_err();
            assert!(found == line && reason.contains(part), "{text:?}: {found}: {reason}");
            assert!(!reason.contains('\n'), "{reason}");
        }
        assert!(parse("").is_ok());
    }

    #[test]
    fn the_users_file_is_where_the_system_has_such_files() {
        let home = tempfile::tempdir().unwrap();
        let file = |below: &str| {
            let path = home.path().join(below).join("pcapdiff").join(NAME);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let variables = |set: &[(&str, &Path)]| {
            let set: BTreeMap<String, PathBuf> =
                set.iter().map(|(name, path)| ((*name).into(), (*path).into())).collect();
            user_file(move |name| set.get(name).cloned())
        };
        if cfg!(windows) {
            let path = file("roaming");
            assert_eq!(variables(&[("APPDATA", &home.path().join("roaming"))]), Some(path));
            return;
        }
        assert_eq!(variables(&[("HOME", home.path())]), None);
        let (usual, own) = (file(".config"), file("own"));
        assert_eq!(variables(&[("HOME", home.path())]).as_ref(), Some(&usual));
        assert_eq!(variables(&[("HOME", home.path()), ("XDG_CONFIG_HOME", &home.path().join("own"))]), Some(own));
        assert_eq!(variables(&[("HOME", home.path()), ("XDG_CONFIG_HOME", Path::new("own"))]), Some(usual));
        assert_eq!(variables(&[]), None);
    }
}
