//! Why a run failed: the closed list of codes of SPEC §4, with the sentence for people.

use super::string_enum;

string_enum!(
    /// `import_runs.failure_code`
    FailureCode {
        /// Imports are switched off for the account.
        ImportDisabled = "import_disabled",
        /// The settings lack something.
        SettingsIncomplete = "settings_incomplete",
        /// The stored secret can't be opened with the key at hand.
        SecretUnreadable = "secret_unreadable",
        /// The stored secret was entered for another server.
        SecretForOtherOrigin = "secret_for_other_origin",
        /// The network policy forbids the address.
        AddressRefused = "address_refused",
        /// The name does not resolve.
        NameNotFound = "name_not_found",
        /// No connection.
        ConnectFailed = "connect_failed",
        /// Nothing, or too little, came in time.
        TimedOut = "timed_out",
        /// The server's certificate is not valid for it.
        TlsInvalid = "tls_invalid",
        /// Not https.
        SchemeRefused = "scheme_refused",
        /// A redirect to where we don't follow.
        RedirectRefused = "redirect_refused",
        /// More redirects than we follow.
        TooManyRedirects = "too_many_redirects",
        /// User or password refused.
        Unauthorized = "unauthorized",
        /// Not allowed to read the file.
        Forbidden = "forbidden",
        /// No such file.
        NotFound = "not_found",
        /// A directory or the like.
        NotAFile = "not_a_file",
        /// Asked too often.
        RateLimited = "rate_limited",
        /// 5xx.
        ServerError = "server_error",
        /// Any other status.
        HttpStatus = "http_status",
        /// Another SSH host key than the pinned one.
        HostKeyChanged = "host_key_changed",
        /// The server does not speak the protocol.
        ProtocolError = "protocol_error",
        /// S3 does not know the access key id.
        S3UnknownKeyId = "s3_unknown_key_id",
        /// The S3 secret is wrong.
        S3WrongSecret = "s3_wrong_secret",
        /// The bucket lies in another region.
        S3WrongRegion = "s3_wrong_region",
        /// No such bucket.
        S3NoBucket = "s3_no_bucket",
        /// The object is archived.
        S3Archived = "s3_archived",
        /// This machine's clock is wrong.
        ClockSkew = "clock_skew",
        /// The file exceeds the size limit.
        TooLarge = "too_large",
        /// Fewer bytes than announced.
        Incomplete = "incomplete",
        /// The file changed while it was read.
        ChangedWhileReading = "changed_while_reading",
        /// Something else than .xlsx or .csv.
        NotASpreadsheet = "not_a_spreadsheet",
        /// A workbook with a password.
        PasswordProtected = "password_protected",
        /// Nothing in it.
        EmptyFile = "empty_file",
        /// A damaged workbook.
        WorkbookUnreadable = "workbook_unreadable",
        /// A workbook beyond the caps.
        WorkbookTooLarge = "workbook_too_large",
        /// Bytes that are no text in any supported encoding.
        Undecodable = "undecodable",
        /// A quote that is never closed.
        UnclosedQuote = "unclosed_quote",
        /// NUL bytes in text.
        NulByte = "nul_byte",
        /// The header is not the first non-blank row.
        HeaderNotFirst = "header_not_first",
        /// A required column is missing.
        HeaderMissing = "header_missing",
        /// A header stands twice.
        HeaderDuplicate = "header_duplicate",
        /// More rows than allowed.
        TooManyRows = "too_many_rows",
        /// No contact without error in the file.
        NoContacts = "no_contacts",
        /// Postgres failed.
        DatabaseError = "database_error",
        /// Another process has taken the run over, or settings changed under it.
        LeaseLost = "lease_lost",
        /// The file killed its process repeatedly.
        SetAside = "set_aside",
        /// A defect in rosterd.
        Internal = "internal",
    }
);

/// A failure as recorded and mailed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// Fixed word.
    pub code: FailureCode,
    /// What happened, where, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure with its sentence.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}
