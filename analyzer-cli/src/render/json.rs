//! The report for programs: one JSON object of the schema `pcapdiff/1`, indented, with a final newline.

use analyzer_core::report::Report;

pub(crate) fn render(report: &Report) -> anyhow::Result<Vec<u8>> {
    let mut out = serde_json::to_vec_pretty(report)?;
    out.push(b'\n');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn is_one_object_with_the_names_of_the_schema() {
        let value: serde_json::Value = serde_json::from_slice(&render(&sample::resets()).unwrap()).unwrap();
        assert_eq!(value["schema"], "pcapdiff/1");
        assert_eq!(value["findings"][0]["where"], "between");
        assert_eq!(value["findings"][0]["first"], "2026-11-21T00:52:07.455012000Z");
    }

    #[test]
    fn has_the_shape_that_programs_know() {
        sample::snapshot("resets.json", &String::from_utf8(render(&sample::resets()).unwrap()).unwrap());
    }

    #[test]
    fn control_characters_are_escaped() {
        let bytes = render(&sample::hostile()).unwrap();
        assert!(bytes.iter().all(|byte| *byte >= b' ' || *byte == b'\n'));
    }
}
