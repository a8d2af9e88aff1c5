//! The order of the layers (see ARCHITECTURE.md): each knows those before it and none after.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, in the order in which packets pass them. Facts are plain data that `flow` and `align` fill in;
/// witnesses are what the host says besides.
const LAYERS: &[&str] = &["capture", "packet", "facts", "flow", "align", "witness", "detect", "evidence"];
/// Small plain vocabulary that every layer may use.
const VOCABULARY: &[&str] = &["error", "hash", "options", "point", "prefetch", "report", "seq", "time"];
/// The only module that names every layer.
const TOP: &str = "analysis";

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The modules of this crate that a source file names, with `crate::{a::B, c}` taken apart.
fn named(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for (place, start) in code.match_indices("crate::") {
        // Not `$crate::` nor the end of another name.
        if code[..place].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[place + start.len()..];
        let mut add = |part: &str| {
            let name: String = part.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                names.insert(name);
            }
        };
        let Some(list) = rest.strip_prefix('{') else {
            add(rest);
            continue;
        };
        let (mut depth, mut part) = (0, String::new());
        for letter in list.chars() {
            match letter {
                '}' if depth == 0 => break,
                ',' if depth == 0 => add(&std::mem::take(&mut part)),
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if letter != ',' || depth > 0 {
                part.push(letter);
            }
        }
        add(&part);
    }
    names
}

#[test]
fn a_layer_knows_only_those_before_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let below = file.strip_prefix(&root).expect("a source of this crate");
        let module = below.iter().next().map(|part| part.to_string_lossy().replace(".rs", "")).unwrap_or_default();
        if module == TOP || module == "lib" {
            continue;
        }
        let layer = LAYERS.iter().position(|name| *name == module);
        if layer.is_none() && !VOCABULARY.contains(&module.as_str()) {
            wrong.push(format!("{} belongs to no layer: give it its place in this test", below.display()));
            continue;
        }
        for name in named(&fs::read_to_string(&file).expect("a source is text")) {
            let known = LAYERS.iter().position(|layer| *layer == name);
            let allowed = match (layer, known) {
                (Some(layer), Some(known)) => known <= layer,
                // Vocabulary knows no layer.
                (None, Some(_)) => false,
                (_, None) => name != TOP,
            };
            if !allowed {
                wrong.push(format!("{} uses crate::{name}", below.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn one_function_is_unsafe() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is in a workspace");
    let mut files = Vec::new();
    for folder in ["analyzer-core/src", "analyzer-cli/src", "benches/src", "benches/benches"] {
        sources(&root.join(folder), &mut files);
    }
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source is text");
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        let places =
            code.filter(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe"));
        found.extend(places.map(|_| file.strip_prefix(root).expect("below the workspace").to_owned()));
    }
    assert_eq!(found, [Path::new("analyzer-core/src/prefetch.rs")]);
}

#[test]
fn uses_are_found() {
    let text = "use crate::a::B;\nuse crate::{c::{D, e}, f};\n// crate::g\nlet x = crate::h::i();\nmycrate::j();";
    assert_eq!(named(text).into_iter().collect::<Vec<_>>(), ["a", "c", "f", "h"]);
}
