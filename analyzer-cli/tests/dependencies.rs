//! What the workspace depends on keeps to `deny.toml`: licences, sources, one version of each crate.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The strings between the brackets of a list.
fn list<'a>(text: &'a str, name: &str) -> BTreeSet<&'a str> {
    let (_, list) = text.split_once(&format!("\n{name} = [")).expect("the list is there");
    let (list, _) = list.split_once(']').expect("the list ends");
    list.split('"').skip(1).step_by(2).collect()
}

/// Whether an SPDX expression can be satisfied: `/` is how `OR` was written once. Exceptions only widen a licence.
fn satisfied(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let expression = expression.replace('/', " OR ");
    // Parentheses stand around alternatives in a conjunction only, so that cutting at AND first is right for them.
    let (all, any) = if expression.contains('(') { (" AND ", " OR ") } else { (" OR ", " AND ") };
    let one = |term: &str| {
        let name = term.trim_matches(['(', ')', ' ']);
        allowed.contains(name.split(" WITH ").next().unwrap_or(name))
    };
    let mut parts = expression.split(all);
    if all == " AND " { parts.all(|part| part.split(any).any(one)) } else { parts.any(|part| part.split(any).all(one)) }
}

#[test]
fn expressions_are_read() {
    let allowed = BTreeSet::from(["MIT", "Zlib"]);
    for (expression, right) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("Apache-2.0/MIT", true),
        ("Apache-2.0 OR GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR Apache-2.0) AND Zlib", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0", false),
    ] {
        assert_eq!(satisfied(expression, &allowed), right, "{expression}");
    }
}

#[test]
fn dependencies_are_free_to_use_and_come_from_one_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let rules = std::fs::read_to_string(root.join("deny.toml")).expect("the rules are there");
    let (allowed, skipped) = (list(&rules, "allow"), list(&rules, "skip"));
    let cargo = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO")).args(arguments).current_dir(&root).output().expect("cargo starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo tells its host");
    // Of this platform, so that nothing needs to be fetched that was not built.
    let told = cargo(&["metadata", "--format-version", "1", "--offline", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&told).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    assert!(packages.len() > 50, "{} packages", packages.len());
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for package in packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let (name, version) = (text("name"), text("version"));
        if !satisfied(text("license"), &allowed) {
            wrong.push(format!("{name}: its licence is {}", package["license"]));
        }
        if !package["source"].is_null() && text("source") != "registry+https://github.com/rust-lang/crates.io-index" {
            wrong.push(format!("{name}: comes from {}", text("source")));
        }
        if !skipped.contains(name) {
            versions.entry(name).or_default().push(version);
        }
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        wrong.push(format!("{name}: in versions {}", versions.join(", ")));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
