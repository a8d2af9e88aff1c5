//! Frame numbers of sets of files: detectors count through the whole set, a reader needs the file and the number in it.

use super::scene::Scene;
use crate::capture::Files;
use crate::point::Point;
use crate::report::Finding;
use serde_json::{Map, Value};

/// Gives every frame of a finding that is of a set of files the name of its file, and its number there.
pub(super) fn name_frames(scene: &Scene, finding: &mut Finding) {
    if !scene.files.iter().any(Files::is_set) {
        return;
    }
    for cited in &mut finding.evidence {
        if let Some((file, frame)) = place(scene, cited.point, cited.frame) {
            (cited.file, cited.frame) = (Some(file), frame);
        }
    }
    for value in finding.details.values_mut() {
        rename(scene, value);
    }
}

fn place(scene: &Scene, point: Point, frame: u64) -> Option<(String, u64)> {
    let (file, own) = scene.files[point.index()].place(u32::try_from(frame).ok()?)?;
    Some((file.to_owned(), u64::from(own)))
}

/// The frames that details cite: objects that name a point beside them.
fn rename(scene: &Scene, value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| rename(scene, value)),
        Value::Object(fields) => {
            if let Some(point) = point(fields) {
                for (number, name) in [("frame", "file"), ("offending_frame", "offending_file")] {
                    let frame = fields.get(number).and_then(Value::as_u64);
                    if let Some((file, own)) = frame.and_then(|frame| place(scene, point, frame)) {
                        fields.insert(number.into(), own.into());
                        fields.insert(name.into(), file.into());
                    }
                }
            }
            fields.values_mut().for_each(|value| rename(scene, value));
        }
        _ => {}
    }
}

fn point(fields: &Map<String, Value>) -> Option<Point> {
    match fields.get("point")?.as_str()? {
        "a" => Some(Point::A),
        "b" => Some(Point::B),
        _ => None,
    }
}
