//! Gathers what `pcapdiff --version` says of the build. Nothing of it is needed: what cannot be found out is `unknown`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let folder = variable("CARGO_MANIFEST_DIR");
    let profile = if variable("DEBUG") == "true" { "with debug information" } else { "" };
    let target = [variable("TARGET"), variable("PROFILE"), profile.to_owned()];
    let target: Vec<String> = target.into_iter().filter(|part| !part.is_empty()).collect();
    let features: Vec<&str> = ["gzip", "zstd", "lz4"]
        .into_iter()
        .filter(|name| !variable(&format!("CARGO_FEATURE_{}", name.to_uppercase())).is_empty())
        .collect();
    for (name, value) in [
        ("COMMIT", packaged(&folder).or_else(|| checked_out(&folder))),
        ("TARGET", Some(target.join(", "))),
        ("FEATURES", Some(features.join(" ")).filter(|text| !text.is_empty()).or(Some("none".into()))),
        ("RUSTC", output(&variable("RUSTC"), &folder, &["--version"])),
    ] {
        println!("cargo::rustc-env=PCAPDIFF_{name}={}", value.unwrap_or_else(|| "unknown".into()));
    }
}

/// The commit that a published package was made of: cargo puts it beside the manifest.
fn packaged(folder: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(folder).join(".cargo_vcs_info.json")).ok()?;
    let hash = text.split_once("\"sha1\":")?.1.split('"').nth(1)?;
    Some(hash.chars().take(12).collect())
}

/// The commit of this repository, if it is one and there is git.
fn checked_out(folder: &str) -> Option<String> {
    if !Path::new(folder).join("../.git").exists() {
        return None;
    }
    // Written at every commit and checkout, unlike HEAD.
    let log = output("git", folder, &["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={}", Path::new(folder).join(log).display());
    output("git", folder, &["rev-parse", "--short=12", "HEAD"])
}

/// The first line that a command prints.
fn output(program: &str, folder: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(folder).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    text.lines().next().map(str::to_owned)
}
