//! The page in a real browser: Chromium without a window, driven through its DevTools pipe. Where there is no Chromium the
//! tests say so and pass; `CHROMIUM` names one that is not in the path.
#![cfg(unix)]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longer than a loaded machine takes for anything here.
const PATIENCE: Duration = Duration::from_secs(90);

fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut places = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    places.find(|place| place.is_file())
}

/// A page in a browser.
struct Browser {
    child: Child,
    input: ChildStdin,
    output: Receiver<Value>,
    session: Value,
    next: u64,
    /// What the page and the browser complained of, and what it asked the network for.
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a page; none where there is no browser.
    fn open(page: &Path) -> Option<Self> {
        let Some(program) = chromium() else {
            eprintln!("skipped: there is no Chromium (Debian: apt install chromium)");
            return None;
        };
        let profile = tempfile::tempdir().expect("a folder");
        // The pipe's ends are file descriptors 3 and 4, which only a shell can name.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null"])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { return };
                if sender.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            input,
            output: receiver,
            session: Value::Null,
            next: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", &attach)["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser.call("Page.navigate", &json!({ "url": format!("file://{}", page.display()) }));
        browser.wait(|message| message["method"] == "Page.loadEventFired");
        Some(browser)
    }

    /// Calls a method of the protocol.
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.input.write_all(format!("{message}\0").as_bytes()).expect("the browser runs");
        let answer = self.wait(|message| message["id"] == id);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Waits for a message.
    fn wait(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.output.recv_timeout(PATIENCE).expect("the browser answers");
            let event = &message["params"];
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded") => {
                    self.complaints.push(event.to_string());
                }
                Some("Network.requestWillBeSent") => {
                    let url = event["request"]["url"].as_str().unwrap_or_default();
                    if !url.starts_with("file://") {
                        self.complaints.push(format!("asks for {url}"));
                    }
                }
                _ => {}
            }
            if wanted(&message) {
                return message;
            }
        }
    }

    /// The value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", &parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    fn size(&mut self, width: u32) {
        let screen = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &screen);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The page of a labelled pair.
fn page(folder: &Path, case: &str) -> PathBuf {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(case);
    let page = folder.join("page.html");
    let status = Command::new(env!("CARGO_BIN_EXE_pcapdiff"))
        .args([case.join("virbr0.pcap"), case.join("uplink.pcap")])
        .arg("--output")
        .arg(folder.join("report"))
        .arg("--html")
        .arg(&page)
        .stdin(Stdio::null())
        .status()
        .expect("the program starts");
    assert!(status.code().is_some_and(|code| code < 2));
    page
}

/// Pages that between them have every drawing.
const PAGES: [&str; 4] = [
    "pairs/rst_by_host",
    "detectors/transit-loss/loss_pps_policer",
    "detectors/nat-rebinding/udp_expiry_rebinding",
    "pairs/healthy_mix",
];

#[test]
fn pages_render_without_a_complaint_at_any_width_in_light_dark_and_print() {
    let folder = tempfile::tempdir().expect("a folder");
    for case in PAGES {
        let Some(mut browser) = Browser::open(&page(folder.path(), case)) else { return };
        let media = |scheme: &str, media: &str| json!({ "media": media, "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        let shade =
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)";
        for (scheme, dark) in [("light", false), ("dark", true)] {
            browser.call("Emulation.setEmulatedMedia", &media(scheme, "screen"));
            assert_eq!(browser.value(shade).as_u64().expect("a colour") < 384, dark, "{case} {scheme}");
        }
        for width in [320, 800, 1600] {
            browser.size(width);
            let wide = browser.value("document.documentElement.scrollWidth");
            let outside = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') \
                           && e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML.slice(0, 200))";
            let outside = browser.value(outside);
            assert!(wide.as_u64() <= Some(width.into()), "{case}: {wide} wide on a screen of {width}: {outside}");
        }
        browser.call("Emulation.setEmulatedMedia", &media("light", "print"));
        let buttons = "[...document.querySelectorAll('pre ~ button, button')].filter(b => !b.closest('th') \
                       && getComputedStyle(b).display !== 'none').length";
        assert_eq!(browser.value(buttons), 0, "{case}: buttons on paper");
        assert!(browser.complaints.is_empty(), "{case}: {:#?}", browser.complaints);
    }
}

#[test]
fn everything_has_a_name_for_those_who_do_not_see_it() {
    let folder = tempfile::tempdir().expect("a folder");
    for case in PAGES {
        let Some(mut browser) = Browser::open(&page(folder.path(), case)) else { return };
        for (what, nameless) in [
            ("drawings", "svg:not([aria-hidden]):not([aria-label]):not([aria-labelledby])"),
            ("sections", "section:not([aria-labelledby])"),
            ("heads of columns", "thead th:not([scope])"),
            ("things that scroll", ".scroll:not([tabindex='0'][aria-label])"),
        ] {
            let found = browser.value(&format!("document.querySelectorAll({nameless:?}).length"));
            assert_eq!(found, 0, "{case}: {what} without a name");
        }
        let dangling = "[...document.querySelectorAll('[aria-labelledby], a[href^=\"#\"]')].filter(e => \
                        !document.getElementById(e.getAttribute('aria-labelledby') || e.getAttribute('href').slice(1))).length";
        assert_eq!(browser.value(dangling), 0, "{case}: names and links that lead nowhere");
        let twice = "[...document.querySelectorAll('[id]')].length - new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size";
        assert_eq!(browser.value(twice), 0, "{case}: ids used twice");
    }
}

#[test]
fn flows_sort_and_filter() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut browser) = Browser::open(&page(folder.path(), "pairs/rst_by_host")) else { return };
    let rows = browser.value("document.querySelectorAll('#all-flows tbody tr').length").as_u64().expect("a number");
    assert!(rows > 3);
    let column = "[...document.querySelectorAll('#all-flows thead th')].findIndex(th => th.textContent === 'Bytes')";
    let values = format!(
        "[...document.querySelectorAll('#all-flows tbody tr')].map(tr => Number(tr.cells[{column}].dataset.value))"
    );
    for (order, largest_first) in [("descending", true), ("ascending", false), ("descending", true)] {
        browser.value(&format!("document.querySelectorAll('#all-flows thead button')[{column}].click()"));
        let sorted = browser.value(&format!("document.querySelectorAll('#all-flows thead th')[{column}].ariaSort"));
        assert_eq!(sorted, order);
        let values: Vec<f64> = serde_json::from_value(browser.value(&values)).expect("numbers");
        assert_eq!(values.len() as u64, rows);
        assert!(
            values.windows(2).all(|pair| (pair[0] >= pair[1]) == largest_first || pair[0] == pair[1]),
            "{values:?}"
        );
    }
    let type_in = |text: &str| {
        format!(
            "(field => {{ field.value = {text:?}; field.dispatchEvent(new Event('input')) }})(document.querySelector('.filter input'))"
        )
    };
    let shown = "[...document.querySelectorAll('#all-flows tbody tr')].filter(tr => tr.offsetParent !== null)";
    browser.value(&type_in("tcp 41594"));
    let left = browser.value(&format!("{shown}.length")).as_u64().expect("a number");
    assert!((1..rows).contains(&left), "{left} of {rows}");
    let fits = format!("{shown}.every(tr => tr.textContent.includes(':41594') && tr.textContent.includes('tcp'))");
    assert_eq!(browser.value(&fits), true);
    let said = browser.value("document.querySelector('.filter [role=status]').textContent");
    assert_eq!(said, format!(" {left} of {rows}"));
    browser.value(&type_in(""));
    assert_eq!(browser.value(&format!("{shown}.length")), rows);
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

#[test]
fn filters_and_commands_can_be_copied() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut browser) = Browser::open(&page(folder.path(), "pairs/rst_by_host")) else { return };
    let pairs = "[...document.querySelectorAll('pre.copy')].every(pre => pre.previousElementSibling.tagName === 'BUTTON' \
                 && pre.previousElementSibling.getAttribute('aria-label').startsWith('Copy: '))";
    assert_eq!(browser.value(pairs), true);
    // What the clipboard would get, or the selection where there is none.
    browser.value("navigator.clipboard && (navigator.clipboard.writeText = text => { window.copied = text; return Promise.resolve() })");
    let copied = browser.value(
        "(async () => { const pre = document.querySelector('pre.copy'); pre.previousElementSibling.click(); \
         await new Promise(r => setTimeout(r, 50)); return [window.copied ?? getSelection().toString(), pre.textContent, \
         document.getElementById('copied').textContent] })()",
    );
    assert_eq!(copied[0], copied[1]);
    assert!(copied[0].as_str().is_some_and(|filter| filter.contains("frame.number")), "{copied}");
    assert_ne!(copied[2], "");
}
