//! Why a run failed: the failure codes of SPEC §4, and a failure with its message.

use super::string_enum;
use crate::unicode::shorten;

/// Longest message of a failure, in characters.
pub const MAX_MESSAGE_CHARS: usize = 1_000;

string_enum!(
    /// Code of a failure, as stored in `import_runs.failure_code`.
    FailureCode {
        /// Imports are disabled for the account.
        ImportDisabled = "import_disabled",
        /// The import settings lack a value.
        SettingsIncomplete = "settings_incomplete",
        /// The stored secret cannot be decrypted with the configured keys.
        SecretUnreadable = "secret_unreadable",
        /// The stored secret was entered for another server.
        SecretForOtherOrigin = "secret_for_other_origin",
        /// The network policy forbids the address.
        AddressRefused = "address_refused",
        /// The host name does not resolve.
        NameNotFound = "name_not_found",
        /// The connection failed.
        ConnectFailed = "connect_failed",
        /// The server sent nothing, or too little, in time.
        TimedOut = "timed_out",
        /// The server's certificate is not valid.
        TlsInvalid = "tls_invalid",
        /// The scheme of the address is not supported.
        SchemeRefused = "scheme_refused",
        /// The redirect is not allowed, for example to another scheme.
        RedirectRefused = "redirect_refused",
        /// The number of redirects exceeds the limit.
        TooManyRedirects = "too_many_redirects",
        /// The server refused the user name, password or key.
        Unauthorized = "unauthorized",
        /// The server does not allow reading the file.
        Forbidden = "forbidden",
        /// The file does not exist.
        NotFound = "not_found",
        /// The path is a directory or another object that is not a file.
        NotAFile = "not_a_file",
        /// The server limits the rate of requests.
        RateLimited = "rate_limited",
        /// HTTP status 5xx, or another error of the server.
        ServerError = "server_error",
        /// Any other unexpected HTTP status.
        HttpStatus = "http_status",
        /// The SSH host key is not the pinned one.
        HostKeyChanged = "host_key_changed",
        /// The server violated the protocol.
        ProtocolError = "protocol_error",
        /// The S3 access key ID does not exist.
        S3UnknownKeyId = "s3_unknown_key_id",
        /// The S3 secret key does not match the access key ID.
        S3WrongSecret = "s3_wrong_secret",
        /// The bucket is in another region.
        S3WrongRegion = "s3_wrong_region",
        /// The bucket does not exist.
        S3NoBucket = "s3_no_bucket",
        /// The object is archived and must be restored first.
        S3Archived = "s3_archived",
        /// S3 refused the request because this machine's clock is wrong.
        ClockSkew = "clock_skew",
        /// The file exceeds the size limit.
        TooLarge = "too_large",
        /// The server sent fewer bytes than it announced.
        Incomplete = "incomplete",
        /// The file changed while it was read.
        ChangedWhileReading = "changed_while_reading",
        /// The file is neither .xlsx nor .csv.
        NotASpreadsheet = "not_a_spreadsheet",
        /// The workbook is protected with a password.
        PasswordProtected = "password_protected",
        /// The file is empty.
        EmptyFile = "empty_file",
        /// The workbook is damaged.
        WorkbookUnreadable = "workbook_unreadable",
        /// The workbook exceeds a limit.
        WorkbookTooLarge = "workbook_too_large",
        /// The bytes are not text in a supported encoding.
        Undecodable = "undecodable",
        /// A quotation mark is never closed.
        UnclosedQuote = "unclosed_quote",
        /// The text contains NUL bytes.
        NulByte = "nul_byte",
        /// The header is not the first non-blank row.
        HeaderNotFirst = "header_not_first",
        /// A required column is missing.
        HeaderMissing = "header_missing",
        /// Two columns have the same title.
        HeaderDuplicate = "header_duplicate",
        /// The number of rows exceeds the limit.
        TooManyRows = "too_many_rows",
        /// More columns, or more numbered columns, than allowed.
        TooManyColumns = "too_many_columns",
        /// A cell longer than allowed.
        CellTooLong = "cell_too_long",
        /// The file has no contact without errors.
        NoContacts = "no_contacts",
        /// A database operation failed.
        DatabaseError = "database_error",
        /// Another process took over the run, or the settings changed during it.
        LeaseLost = "lease_lost",
        /// The account is quarantined, because its file crashed the process repeatedly.
        SetAside = "set_aside",
        /// A bug in rosterd.
        Internal = "internal",
    }
);

/// A failure as stored and mailed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// Code.
    pub code: FailureCode,
    /// What happened, where, and what to do; see [`clean_message`].
    pub message: String,
}

impl Failure {
    /// A failure with this message, which is cleaned by [`clean_message`].
    #[must_use]
    pub fn new(code: FailureCode, message: impl AsRef<str>) -> Self {
        Self {
            code,
            message: clean_message(message.as_ref()),
        }
    }
}

/// The message with a space for each control character, and at most [`MAX_MESSAGE_CHARS`] characters. A message may contain text of
/// the file or the server, such as the name of a sheet: Postgres refuses NUL, and terminals interpret other control characters.
#[must_use]
pub fn clean_message(message: &str) -> String {
    let replace_control = |c: char| if c.is_control() { ' ' } else { c };
    // Cut first, because a name in a workbook may have megabytes.
    let cut = shorten(message, MAX_MESSAGE_CHARS);
    cut.chars().map(replace_control).collect()
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expected: &str) {
        let failure = Failure::new(FailureCode::WorkbookUnreadable, message);
        assert_eq!(failure.message, expected);
        assert_eq!(clean_message(&failure.message), expected);
    }

    #[test]
    fn control_characters_in_message_become_spaces() {
        check("part `a\0b` is damaged", "part `a b` is damaged");
        check("\u{1b}[31mred\r\n\tnext\u{9b}", " [31mred   next ");
    }

    #[test]
    fn long_message_is_cut() {
        check(&"é".repeat(1_000), &"é".repeat(1_000));
        let expected = format!("{}…", "é".repeat(999));
        check(&"é".repeat(16 << 20), &expected);
    }
}
