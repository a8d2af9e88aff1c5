//! The documents agree with the code. `UPDATE_SNAPSHOTS=1 cargo test` writes the generated parts anew.

use analyzer_core::detect::SPECS;
use analyzer_core::report::Severity;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// What the head of every detector's file says, in this order.
const HEADINGS: &[&str] = &["What it is", "In paired captures", "Mistaken for it", "What to do", "References"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Holds a generated part of a document, between two comments, to what it should be.
fn check_part(document: &str, part: &str, wanted: &str) {
    let path = root().join(document);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"));
    let (begin, end) = (format!("<!-- {part}: begin -->\n"), format!("<!-- {part}: end -->"));
    let start = text.find(&begin).unwrap_or_else(|| panic!("{document} has no part {part}")) + begin.len();
    let length = text[start..].find(&end).unwrap_or_else(|| panic!("{document}: the part {part} has no end"));
    if text[start..start + length] == *wanted {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_SNAPSHOTS").is_some(),
        "{document}: the part {part} is not what the code says; UPDATE_SNAPSHOTS=1 cargo test writes it anew"
    );
    fs::write(&path, format!("{}{wanted}{}", &text[..start], &text[start + length..]))
        .expect("the document is writable");
}

#[test]
fn the_readme_lists_the_detectors() {
    let mut table = String::from("| id | says | causes | at worst |\n| --- | --- | --- | --- |\n");
    for spec in SPECS {
        let severity = match spec.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let causes: Vec<String> = spec.causes.iter().map(|cause| format!("`{cause}`")).collect();
        writeln!(table, "| `{}` | {} | {} | {severity} |", spec.id, spec.says, causes.join(", ")).expect("memory");
    }
    check_part("README.md", "detectors", &table);
}

#[test]
fn every_detector_explains_itself() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/detect/detectors");
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the detectors can be read") {
        let path = entry.expect("the detectors can be read").path();
        let name = path.file_stem().expect("a name").to_string_lossy().replace('_', "-");
        // A folder or a file without a specification holds what detectors share.
        if path.is_file() && fs::read_to_string(&path).expect("text").contains("const SPEC: Spec") {
            files.insert(name);
        }
    }
    let ids: BTreeSet<String> = SPECS.iter().map(|spec| spec.id.to_owned()).collect();
    assert_eq!(files, ids, "files and index differ");
    for spec in SPECS {
        let doc = spec.doc();
        let headings: Vec<&str> = doc.lines().filter_map(|line| line.strip_prefix("# ")).collect();
        assert_eq!(headings, HEADINGS, "{}", spec.id);
        for threshold in spec.thresholds {
            assert!(threshold.name.starts_with(&format!("{}.", spec.id)), "{} is not of {}", threshold.name, spec.id);
            assert!(!threshold.unit.is_empty() && !threshold.source.is_empty(), "{}: unit and source", threshold.name);
        }
    }
}

#[test]
fn every_detector_has_test_data() {
    for spec in SPECS {
        let folder = root().join("testdata/detectors").join(spec.id);
        assert!(folder.is_dir(), "testdata/detectors/{} is not there", spec.id);
    }
}

#[test]
fn the_readme_of_the_test_data_says_what_is_true_of_each() {
    let mut table = String::new();
    for group in ["pairs", "detectors", "decoys", "formats"] {
        let mut cases = Vec::new();
        collect(&root().join("testdata").join(group), &mut cases);
        cases.sort_by(|one, other| one.0.cmp(&other.0));
        writeln!(table, "\n### {group}\n| case | must be found | may be | truth |\n| --- | --- | --- | --- |")
            .expect("memory");
        for (name, truth) in cases {
            let list = |key: &str| truth[key].as_array().cloned().unwrap_or_default();
            let ids: Vec<String> = list("info").iter().chain(&list("also")).map(text).collect();
            let mut expected: Vec<String> = list("expect").iter().map(finding).collect();
            if expected.is_empty() {
                expected.push("nothing".into());
            }
            let facts = text(&truth["facts"]).replace('|', "\\|");
            writeln!(table, "| {name} | {} | {} | {facts} |", expected.join("; "), ids.join(", ")).expect("memory");
        }
    }
    check_part("testdata/README.md", "cases", &table);
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An expected finding in a cell of a table.
fn finding(value: &Value) -> String {
    let fields = value.as_object().expect("an expected finding is an object");
    let rest: Vec<String> =
        fields.iter().filter(|(key, _)| *key != "id").map(|(key, value)| format!(" {key}={}", text(value))).collect();
    format!("**{}**{}", text(&value["id"]), rest.concat())
}

fn collect(folder: &Path, cases: &mut Vec<(String, Value)>) {
    if let Ok(text) = fs::read_to_string(folder.join("expect.json")) {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        cases.push((name, serde_json::from_str(&text).expect("expect.json is JSON")));
        return;
    }
    for entry in fs::read_dir(folder).expect("testdata can be read") {
        let path = entry.expect("testdata can be read").path();
        if path.is_dir() {
            collect(&path, cases);
        }
    }
}
