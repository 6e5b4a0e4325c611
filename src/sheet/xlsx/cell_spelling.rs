//! Rewrites the cells of a workbook that are spelled in a way that calamine misreads: values in CDATA sections, with comments, character
//! references or white space. Without this, such a value would be read as blank or as the text of another cell.

use std::io::{BufReader, Cursor, Read, Seek};
use std::ops::Range;

use quick_xml::escape::{escape, resolve_xml_entity};
use quick_xml::events::{BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A copy of a workbook in which the cells of the parts at `sheets`, indexes in the archive, have the usual spelling.
pub(super) fn normalize_sheets<R: Read + Seek>(
    file: R,
    sheets: &[usize],
) -> Result<Cursor<Vec<u8>>, BoxError> {
    let mut archive = ZipArchive::new(file)?;
    let mut copy = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for index in 0..archive.len() {
        let part = archive.by_index(index)?;
        if sheets.contains(&index) {
            let name = part.name()?.to_string();
            let sheet = normalize_sheet(part)?;
            copy.start_file(name, stored)?;
            std::io::Write::write_all(&mut copy, &sheet)?;
        } else {
            copy.raw_copy_file(part)?;
        }
    }
    Ok(copy.finish()?)
}

/// The cell that is being read.
struct Cell {
    start: BytesStart<'static>,
    /// Where its start tag is in the output.
    written: Range<usize>,
}

fn normalize_sheet(sheet: impl Read) -> Result<Vec<u8>, BoxError> {
    let mut reader = Reader::from_reader(BufReader::new(sheet));
    let mut output = Writer::new(Vec::new());
    let (mut buffer, mut cell, mut value) = (Vec::new(), None, None::<String>);
    loop {
        buffer.clear();
        match (reader.read_event_into(&mut buffer)?, &mut value) {
            (Event::Eof, _) => return Ok(output.into_inner()),
            (Event::Comment(_) | Event::PI(_) | Event::DocType(_), _) => {}
            (Event::Text(text), Some(value)) => value.push_str(&text.xml10_content()),
            (Event::CData(text), Some(value)) => value.push_str(&text.xml10_content()),
            (Event::GeneralRef(name), Some(value)) => match name.resolve_char_ref()? {
                Some(c) => value.push(c),
                None => value
                    .push_str(resolve_xml_entity(&name).ok_or("unknown entity in a cell value")?),
            },
            (Event::CData(text), None) => output.write_event(Event::Text(text.escape()?))?,
            (Event::Start(start), None) if start.local_name().as_ref() == "c" => {
                let from = output.get_ref().len();
                output.write_event(Event::Start(start.borrow()))?;
                cell = Some(Cell {
                    start: start.into_owned(),
                    written: from..output.get_ref().len(),
                });
            }
            (Event::Start(start), None) if start.local_name().as_ref() == "v" => {
                output.write_event(Event::Start(start))?;
                value = Some(String::new());
            }
            (Event::End(end), Some(text)) if end.local_name().as_ref() == "v" => {
                let text = text.trim_matches([' ', '\t', '\r', '\n']);
                write_value(&mut output, cell.take(), text)?;
                output.write_event(Event::End(end))?;
                value = None;
            }
            // A value has no elements.
            (_, Some(_)) => return Err("a cell value contains another element".into()),
            (other, None) => output.write_event(other)?,
        }
    }
}

/// Writes the text of a value. If it does not fit the type of its cell, changes the type.
fn write_value(
    output: &mut Writer<Vec<u8>>,
    cell: Option<Cell>,
    text: &str,
) -> Result<(), BoxError> {
    let Some(cell) = cell else {
        return Err("a value is outside of a cell or its second value".into());
    };
    let kind = cell
        .start
        .try_get_attribute("t")?
        .map(|t| t.value.into_owned());
    let is_index = || !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (kind, text) = match kind.as_deref() {
        Some("s") if !is_index() => (Some("e"), "#VALUE!"),
        None if text.contains(['<', '&', '>']) => (Some("str"), text),
        Some("n" | "b" | "e") if text.contains(['<', '&', '>']) => (Some("e"), "#VALUE!"),
        _ => (None, text),
    };
    if let Some(kind) = kind {
        let mut start = BytesStart::new(cell.start.name().as_ref().to_owned());
        for attribute in cell.start.attributes() {
            let attribute = attribute?;
            if attribute.key.as_ref() != "t" {
                start.push_attribute(attribute);
            }
        }
        start.push_attribute(("t", kind));
        let mut tag = Writer::new(Vec::new());
        tag.write_event(Event::Start(start))?;
        output.get_mut().splice(cell.written, tag.into_inner());
    }
    output.write_event(Event::Text(BytesText::from_escaped(escape(text))))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_get_usual_spelling() {
        for (sheet, expected) in [
            (
                r#"<c r="A1" t="str"><v><![CDATA[A & B]]></v></c>"#,
                r#"<c r="A1" t="str"><v>A &amp; B</v></c>"#,
            ),
            (
                r#"<x:c r="A1"><x:v>60455<!-- x -->50<![CDATA[123]]></x:v></x:c>"#,
                r#"<x:c r="A1"><x:v>6045550123</x:v></x:c>"#,
            ),
            (
                "<c r=\"A1\" t=\"s\"><f>1</f><v>\n 12\t</v></c>",
                r#"<c r="A1" t="s"><f>1</f><v>12</v></c>"#,
            ),
            (
                r#"<c r="A1" s="2"><v>&#52;&#x32;</v></c>"#,
                r#"<c r="A1" s="2"><v>42</v></c>"#,
            ),
            // No index: reading it as 0 would show the text of another cell.
            (
                r#"<c r="A1" t="s" s="2"><f>1</f><v>1.5</v></c>"#,
                r#"<c r="A1" s="2" t="e"><f>1</f><v>#VALUE!</v></c>"#,
            ),
            (
                r#"<c r="A1"><v>A<![CDATA[&B]]></v></c>"#,
                r#"<c r="A1" t="str"><v>A&amp;B</v></c>"#,
            ),
            (
                r#"<c r="A1" t="inlineStr"><is><t><![CDATA[a<b]]> c&amp;d</t></is></c>"#,
                r#"<c r="A1" t="inlineStr"><is><t>a&lt;b c&amp;d</t></is></c>"#,
            ),
        ] {
            let normalized = normalize_sheet(sheet.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(normalized).unwrap(), expected);
        }
        for sheet in [
            "<c><v>1<x/></v></c>",
            "<c><v>&unknown;</v></c>",
            "<c><v>1</v><v>2</v></c>",
        ] {
            assert!(normalize_sheet(sheet.as_bytes()).is_err(), "{sheet}");
        }
    }
}
