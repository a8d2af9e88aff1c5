//! # What it is
//! DNS questions find no answer, or their first copy is lost in the host and only the repetition five seconds later gets
//! through.
//!
//! # In paired captures
//! Set for questions of hosts whose traffic passes the points when all of the following are true:
//! - a question with its transaction id was seen, and no answer with that id on the client's side,
//!   `dns-unanswered.seconds` before the end of the captures or earlier;
//! - `dns-unanswered.questions` or more of them;
//! - the capture shows traffic in both directions.
//!
//! Where: between, when the question never left the host or the answer entered it and did not reach the client; else
//! beyond the points.
//!
//! Set also (`insertion_race` in the details) when a question entered the host and left it only when it was asked again
//! seconds later, while another question of the same socket (A and AAAA go out together) left at once: two packets that
//! open one translation at the same time.
//!
//! # Mistaken for it
//! - Questions by multicast (mDNS) need no answer.
//! - Questions just before the capture ends.
//! - A capture that missed the answer on the client's side: who gets none asks again.
//! - A client that asks two servers and takes the first answer: each question is judged by its own socket.
//!
//! # What to do
//! Ask the server directly from the host and from the guest; look for the rule that drops port 53.
//!
//! # References
//! RFC 1035 section 4.1.1; resolv.conf(5) (timeout 5 s, `single-request-reopen`).

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::{count, counted};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold, alibi};
use crate::facts::{DnsFacts, Question};
use crate::point::{Direction, Point};
use crate::report::{Finding, Severity, Where};
use crate::time::SECOND;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "dns-unanswered",
    says: "DNS questions without an answer",
    causes: &[],
    severity: Severity::Warning,
    thresholds: &[
        Threshold {
            name: "dns-unanswered.questions",
            unit: "questions",
            default: 3.0,
            source: "one or two are a lost datagram, which DNS is made to live with",
        },
        Threshold {
            name: "dns-unanswered.seconds",
            unit: "seconds to wait for an answer",
            default: 0.5,
            source: "a question that a server nearby has not answered by then would be asked again soon (resolv.conf(5): 5 s)",
        },
    ],
    source: include_str!("dns_unanswered.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let mut claims: Vec<Claim> = scene
        .pairs_with(has::DNS, 0)
        .filter_map(|pair| Some((pair, pair.facts.dns.as_deref()?)))
        .flat_map(|(pair, dns)| of_flow(scene, pair, dns))
        .collect();
    for place in [Where::Inside, Where::Between, Where::Outside] {
        let here: u64 = claims.iter().filter(|claim| claim.place == place).map(|claim| claim.packets).sum();
        let few = (here as f64) < SPEC.value(scene, "dns-unanswered.questions");
        for claim in claims.iter_mut().filter(|claim| claim.place == place) {
            let raced = claim.number("insertion_race") > 0.0;
            claim.severity = if few && !(raced && here >= 2) { Severity::Info } else { Severity::Warning };
        }
    }
    claims
}

fn of_flow(scene: &Scene, pair: &PairView, dns: &DnsFacts) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    let asked: u64 = u64::from(dns.asked);
    let raced: Vec<&Question> = dns
        .raced
        .iter()
        .filter(|question| {
            dns.asked >= 2 && (dns.answered > 0 || dns.open.iter().any(|open| DnsFacts::together(question, open)))
        })
        .collect();
    for question in &raced {
        let claim = slot(&mut claims, pair, Where::Between, question);
        let entry = Direction::BOTH[question.direction as usize].entry();
        cite(scene, claim, question, entry, "entered and did not leave; asked again seconds later");
        add(claim, "insertion_race", 1);
    }
    for question in &dns.open {
        let direction = Direction::BOTH[question.direction as usize];
        let near =
            if question.asked[direction.entry().index()].frame == 0 { direction.exit() } else { direction.entry() };
        if !waited(scene, near, question) || !two_way(scene, near) || raced.iter().any(|known| known.id == question.id)
        {
            continue;
        }
        let entered = question.answer[direction.exit().index()].frame != 0;
        let repeated = question.times[near.index()] > 1;
        if entered && !repeated && alibi::captures_badly(scene, near) {
            // Who gets no answer asks again: this capture missed it.
            continue;
        }
        let place = place(question, direction, near);
        let claim = slot(&mut claims, pair, place, question);
        cite(scene, claim, question, near, "asked, and no answer came");
    }
    for claim in &mut claims {
        claim.details.insert("asked".into(), asked.into());
        let raced = claim.number("insertion_race") > 0.0;
        claim.reasons = Reasons::default()
            .support(0.5, "no answer with the question's transaction id came to the client")
            .support_if(claim.place == Where::Between && pair.both(), 0.4, "other packets of the flow crossed")
            .support_if(claim.place == Where::Outside && pair.both(), 0.5, "the question crossed both points")
            .support_if(raced, 0.7, "it left only when asked again, while its sibling left at once");
    }
    claims
}

/// Where the question or its answer was lost.
fn place(question: &Question, direction: Direction, near: Point) -> Where {
    let (entry, exit) = (direction.entry(), direction.exit());
    let left = question.asked[exit.index()].frame != 0;
    let answer_entered = question.answer[exit.index()].frame != 0;
    if near == entry && (!left || answer_entered) {
        return Where::Between;
    }
    if direction == Direction::Outbound { Where::Outside } else { Where::Inside }
}

/// Whether the capture went on long enough for an answer.
fn waited(scene: &Scene, near: Point, question: &Question) -> bool {
    let Some((_, end)) = scene.presence[near.index()].span else { return false };
    let patience = (SPEC.value(scene, "dns-unanswered.seconds") * SECOND as f64) as i64;
    scene.clock.to_a(near, end).0.saturating_sub(question.when[near.index()]) >= patience
}

/// Whether the point shows both directions at all.
fn two_way(scene: &Scene, point: Point) -> bool {
    Direction::BOTH.iter().all(|way| scene.tally.packets(*way, point) > 0)
}

fn slot<'a>(claims: &'a mut Vec<Claim>, pair: &PairView, place: Where, question: &Question) -> &'a mut Claim {
    let index = claims.iter().position(|claim| claim.place == place).unwrap_or_else(|| {
        let mut claim = Claim::new(SPEC.id, pair.serial, place, Direction::BOTH[question.direction as usize]);
        claim.protocol = "dns";
        let server = pair
            .ends(if pair.a.is_some() { Point::A } else { Point::B })
            .map(|ends| if question.direction == 0 { ends.1.ip().to_string() } else { ends.0.ip().to_string() });
        claim.details.insert("server".into(), server.unwrap_or_default().into());
        claims.push(claim);
        claims.len() - 1
    });
    &mut claims[index]
}

fn cite(scene: &Scene, claim: &mut Claim, question: &Question, point: Point, note: &str) {
    let stamp = question.asked[point.index()];
    claim.cite(scene, point, stamp.frame, stamp.time, format!("question {:#06x} {note}", question.id));
    claim.packets += 1;
    let other = question.asked[point.other().index()];
    if other.frame != 0 {
        claim.frames.push((point.other(), other.frame));
    }
    add(claim, "repetitions", u64::from(question.times[point.index()].saturating_sub(1)));
}

fn add(claim: &mut Claim, name: &str, more: u64) {
    let sum = claim.number(name) as u64 + more;
    claim.details.insert(name.into(), sum.into());
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let sum = |name: &str| claims.iter().map(|claim| claim.number(name)).sum::<f64>() as u64;
    let (raced, repetitions) = (sum("insertion_race"), sum("repetitions"));
    let in_all: u64 = scene
        .pairs_with(has::DNS, 0)
        .filter_map(|pair| pair.facts.dns.as_deref())
        .map(|dns| u64::from(dns.asked))
        .sum();
    let mut servers: Vec<String> =
        claims.iter().filter_map(|claim| claim.details.get("server")?.as_str().map(str::to_owned)).collect();
    servers.sort();
    servers.dedup();
    finding.details.insert("questions".into(), in_all.into());
    finding.details.insert("repetitions".into(), repetitions.into());
    finding.details.insert("insertion_race".into(), (raced > 0).into());
    finding.details.insert("servers".into(), servers.clone().into());
    let server = servers.first().cloned().unwrap_or_default();
    finding.summary = match finding.place {
        Where::Between if raced > 0 => format!(
            "The host lost the first copy of {}, sent together with another from the same socket; the client waited \
             seconds and asked again.",
            counted(raced, "DNS question")
        ),
        Where::Between => format!(
            "The host swallowed {} of {} DNS questions to {server}, or their answers: the client got none.",
            count(finding.packet_count),
            count(in_all)
        ),
        _ => format!(
            "{} of {} DNS questions to {server} crossed both points and were not answered.",
            count(finding.packet_count),
            count(in_all)
        ),
    };
    finding.fixes = if raced > 0 {
        vec![fix(
            "Let the guest's resolver use a socket for each question, or update the host's kernel (5.7 and later resolve the race).",
            &[
                "echo 'options single-request-reopen' >> /etc/resolv.conf",
                "conntrack -S | grep -o 'insert_failed=[0-9]*'",
            ],
            "The first command belongs into the guest; musl and some runtimes ignore the option.",
        )]
    } else {
        vec![fix(
            format!("Ask {server} from the guest and from the host; look for a rule that drops port 53."),
            &[
                &format!("dig @{server} example.com +tries=1"),
                "nft list ruleset | grep -nw 53",
                "iptables -vnL FORWARD",
                "conntrack -L -p udp --dport 53",
            ],
            "A server that answers one address only may refuse the others by its own configuration.",
        )]
    };
    finding
}
