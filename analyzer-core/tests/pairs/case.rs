//! The labelled pairs under `testdata`.

use analyzer_core::report::Report;
use analyzer_core::{Analysis, Options};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A labelled pair.
pub(crate) struct Case {
    /// Its name, which is that of its folder.
    pub(crate) name: String,
    folder: PathBuf,
    /// Its `expect.json`.
    pub(crate) truth: Value,
}

impl Case {
    /// The capture of A (0) or B (1): a file, or a folder of files.
    pub(crate) fn input(&self, point: usize) -> PathBuf {
        self.folder.join(self.truth[["a", "b"][point]].as_str().expect("expect.json names its captures"))
    }

    /// Whether nothing is wrong in it, and nothing that looks wrong is tolerated.
    pub(crate) fn healthy(&self) -> bool {
        ["expect", "also"].iter().all(|key| self.truth[key].as_array().is_some_and(Vec::is_empty))
    }

    /// The host's log of connection tracking, if there is one.
    pub(crate) fn log(&self) -> Option<PathBuf> {
        Some(self.folder.join("conntrack.log")).filter(|log| log.is_file())
    }

    /// Whether both captures are plain files.
    pub(crate) fn plain(&self) -> bool {
        (0..2).all(|point| self.input(point).is_file())
    }

    /// What the library reports of it. Errors are text: cases are judged one by one.
    pub(crate) fn report(&self, mut options: Options) -> Result<Report, String> {
        let arguments = self.truth["args"].as_array().map_or(&[][..], Vec::as_slice);
        for pair in arguments.chunks(2) {
            let value = pair.get(1).and_then(Value::as_str).unwrap_or_default();
            let path = Some(value.replace("{}", &self.folder.display().to_string()).into());
            match pair[0].as_str() {
                Some("--conntrack") => options.conntrack = path,
                Some("--sysctl") => options.sysctl = path,
                _ => return Err(format!("the library does not know {}", pair[0])),
            }
        }
        analyze(&self.input(0), &self.input(1), options)
    }

    /// [`report`](Self::report) with the default options, as JSON.
    pub(crate) fn json(&self) -> Result<Value, String> {
        Ok(serde_json::to_value(self.report(Options::default())?).expect("a report serialises"))
    }
}

/// Analyzes two captures.
pub(crate) fn analyze(a: &Path, b: &Path, options: Options) -> Result<Report, String> {
    Analysis::builder().a_path(a).b_path(b).options(options).run().map_err(|error| error.to_string())
}

/// All cases, by name.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata"), &mut cases);
    cases.sort_by(|one: &Case, other| one.name.cmp(&other.name));
    for pair in cases.windows(2) {
        assert_ne!(pair[0].name, pair[1].name, "two cases have one name");
    }
    assert!(cases.len() > 100, "testdata is incomplete: {} cases", cases.len());
    cases
}

/// The cases of these names.
pub(crate) fn named(names: &[&str]) -> Vec<Case> {
    let cases: Vec<Case> = all().into_iter().filter(|case| names.contains(&case.name.as_str())).collect();
    assert_eq!(cases.len(), names.len(), "a case is gone");
    cases
}

fn collect(folder: &Path, cases: &mut Vec<Case>) {
    if let Ok(text) = std::fs::read_to_string(folder.join("expect.json")) {
        let truth = serde_json::from_str(&text).expect("expect.json is JSON");
        let name = folder.file_name().expect("a folder has a name").to_string_lossy().into_owned();
        cases.push(Case { name, folder: folder.to_owned(), truth });
        return;
    }
    for entry in std::fs::read_dir(folder).expect("testdata can be read") {
        let path = entry.expect("testdata can be read").path();
        if path.is_dir() {
            collect(&path, cases);
        }
    }
}
