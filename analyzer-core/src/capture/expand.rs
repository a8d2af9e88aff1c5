//! From what the user names to files: a file, a directory of ring-buffer files, or a pattern.

use crate::Error;
use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The files that `paths` name, each once: a directory stands for the files in it, a pattern (`*`, `?`, `[a-z]`) for those
/// that match. What exists under the very name given is never taken for a pattern. The order does not matter yet.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        let named = if path.is_dir() {
            in_directory(path)?
        } else if path.exists() || path == Path::new("-") || !is_pattern(path) {
            vec![path.clone()]
        } else {
            matching(path)?
        };
        files.extend(named.into_iter().filter(|file| seen.insert(file.clone())));
    }
    Ok(files)
}

/// The files of a directory, without those whose name starts with a dot and without its subdirectories.
fn in_directory(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files: Vec<PathBuf> = list(folder)
        .map_err(|source| Error::Io { path: folder.to_owned(), source })?
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .map(|name| folder.join(name))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(refused(folder, "is a directory without files"));
    }
    Ok(files)
}

/// The files that match a pattern; a directory that matches stands for the files in it.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = match part {
            Component::Normal(name) => name.to_str().filter(|name| is_pattern(Path::new(name))),
            _ => None,
        };
        let Some(name) = name else {
            found = found.into_iter().map(|path| path.join(part)).filter(|path| path.exists()).collect();
            continue;
        };
        let model: Vec<char> = name.chars().collect();
        let mut next = Vec::new();
        for folder in &found {
            let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            // What cannot be listed holds no match.
            let mut names = list(place).unwrap_or_default();
            names.retain(|name| fits(&model, &name.chars().collect::<Vec<_>>()));
            names.sort();
            next.extend(names.into_iter().map(|name| folder.join(name)));
        }
        found = next;
    }
    let mut files = Vec::new();
    for path in found {
        if path.is_dir() {
            files.extend(in_directory(&path).unwrap_or_default());
        } else {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(refused(pattern, "no file matches this pattern"));
    }
    Ok(files)
}

/// Names in a directory, as far as they are Unicode.
fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in folder.read_dir()? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

fn refused(path: &Path, reason: &str) -> Error {
    Error::NotACapture { path: path.to_owned(), reason: reason.to_owned() }
}

fn is_pattern(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains(['*', '?', '[']))
}

/// Whether a name fits a pattern. As in a shell, a leading dot must be written out.
fn fits(pattern: &[char], name: &[char]) -> bool {
    if name.first() == Some(&'.') && pattern.first() != Some(&'.') {
        return false;
    }
    // Where to go on when what follows the last `*` does not fit: one character further.
    let (mut at, mut next, mut back) = (0, 0, None);
    while next < name.len() {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            back = Some((at, next));
            continue;
        }
        if let Some(width) = pattern.get(at..).and_then(|rest| one(rest, name[next])) {
            at += width;
            next += 1;
            continue;
        }
        let Some((star, from)) = back else { return false };
        back = Some((star, from + 1));
        (at, next) = (star, from + 1);
    }
    pattern[at..].iter().all(|&rest| rest == '*')
}

/// Length of the pattern's first element, if the character fits it.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            // A bracket that never closes, or closes at once, stands for itself.
            let Some(close) = pattern.iter().skip(2).position(|&p| p == ']').map(|place| place + 2) else {
                return (c == '[').then_some(1);
            };
            let negated = matches!(pattern[1], '!' | '^');
            let members = &pattern[1 + usize::from(negated)..close];
            (class(members, c) != negated).then_some(close + 1)
        }
        &literal => (literal == c).then_some(1),
    }
}

/// Whether a bracket's members have the character.
fn class(mut members: &[char], c: char) -> bool {
    while let Some((&first, rest)) = members.split_first() {
        if let ['-', last, others @ ..] = rest {
            if (first..=*last).contains(&c) {
                return true;
            }
            members = others;
        } else {
            if first == c {
                return true;
            }
            members = rest;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(pattern: &str, name: &str) -> bool {
        fits(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
    }

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, name) in [
            ("*", "a"),
            ("ring*.pcap", "ring.pcap"),
            ("ring*.pcap", "ring.pcap.pcap"),
            ("r?ng_[0-9]", "ring_7"),
            ("[!a]*", "b"),
            ("*a*b", "aab"),
            ("[", "["),
            (".*", ".hidden"),
            ("x[a-]", "x-"),
        ] {
            assert!(fit(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*", ".hidden"), ("ring*.pcap", "ring.pcapng"), ("ring_[0-9]", "ring_x"), ("?", ""), ("[!a]", "a")]
        {
            assert!(!fit(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn names_become_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["b.pcap", "a.pcap", "a[1].pcap", ".hidden", "notes.txt"] {
            std::fs::write(path(name), "").unwrap();
        }
        std::fs::create_dir(path("ring")).unwrap();
        std::fs::write(path("ring/c.pcap"), "").unwrap();
        let names = |paths: &[PathBuf]| expand(paths).unwrap();
        assert_eq!(names(&[path("*.pcap")]), [path("a.pcap"), path("a[1].pcap"), path("b.pcap")]);
        assert_eq!(names(&[path("a[1].pcap")]), [path("a[1].pcap")], "a file's own name is no pattern");
        assert_eq!(names(&[path("r*")]), [path("ring/c.pcap")]);
        assert_eq!(names(&[path("*/c.*")]), [path("ring/c.pcap")]);
        assert_eq!(names(&[path("b.pcap"), path("b.pcap")]), [path("b.pcap")], "each once");
        assert_eq!(names(&[path("missing")]), [path("missing")], "left to who opens it");
        assert_eq!(names(&[folder.path().to_owned()]).len(), 4);
        assert!(expand(&[path("x*")]).unwrap_err().to_string().ends_with("no file matches this pattern"));
    }
}
