//! Names of file types that are not spreadsheets, for error messages. Does not depend on how they are detected.

use std::fmt;

/// The type of a file that is not a spreadsheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// PDF.
    Pdf,
    /// PNG, JPEG or GIF.
    Image,
    /// Rich Text Format.
    Rtf,
    /// gzip.
    Gzip,
    /// 7-Zip.
    SevenZip,
    /// RAR.
    Rar,
    /// xz.
    Xz,
    /// Zstandard.
    Zstandard,
    /// bzip2.
    Bzip2,
    /// tar.
    Tar,
    /// ZIP with content of an unknown type.
    Zip,
    /// `SQLite` database.
    Sqlite,
    /// MIME HTML.
    WebArchive,
    /// HTML.
    WebPage,
    /// XML, or HTML without an `html` element at its start.
    Markup,
    /// JSON.
    Json,
    /// Symbolic Link, an old text format for spreadsheets.
    Sylk,
    /// Office file from before 2007.
    LegacyOffice,
    /// .xlsb.
    BinaryWorkbook,
    /// .docx.
    WordDocument,
    /// .pptx.
    PowerPoint,
    /// OpenDocument.
    OpenDocument,
    /// Apple Numbers, Pages or Keynote.
    AppleIwork,
    /// Text whose first row has more columns than any spreadsheet program supports.
    TooManyColumns {
        /// Maximum number of columns.
        limit: usize,
    },
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pdf => "a PDF document",
            Self::Image => "an image",
            Self::Rtf => "an RTF document",
            Self::Gzip => "a gzip archive",
            Self::SevenZip => "a 7-Zip archive",
            Self::Rar => "a RAR archive",
            Self::Xz => "an xz archive",
            Self::Zstandard => "a Zstandard archive",
            Self::Bzip2 => "a bzip2 archive",
            Self::Tar => "a tar archive",
            Self::Zip => "a .zip archive",
            Self::Sqlite => "an SQLite database",
            Self::WebArchive => "a web archive (.mht)",
            Self::WebPage => "a web page (for example a sign-in or sharing page)",
            Self::Markup => "an XML or HTML document",
            Self::Json => "JSON data",
            Self::Sylk => "a SYLK file",
            Self::LegacyOffice => "a legacy .xls workbook or another old Office file",
            Self::BinaryWorkbook => "a binary workbook (.xlsb)",
            Self::WordDocument => "a Word document",
            Self::PowerPoint => "a PowerPoint presentation",
            Self::OpenDocument => "an OpenDocument file",
            Self::AppleIwork => "an Apple Numbers or Pages document",
            Self::TooManyColumns { limit } => {
                return write!(f, "text with more than {limit} columns");
            }
        })
    }
}
