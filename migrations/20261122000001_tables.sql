-- The whole schema that SPEC §8 fixes. Times are timestamptz; closed words are text with a CHECK; whatever a person
-- may edit in psql is guarded by named constraints, so that a mistake is refused with a name that says what it was.

CREATE TYPE weekday AS ENUM ('mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun');
COMMENT ON TYPE weekday IS 'A day of the week, in the account''s time zone.';

-- Aliases such as posix/… and localtime mean other things on other machines, so only the plain IANA names pass.
CREATE FUNCTION is_time_zone(zone text) RETURNS boolean
    LANGUAGE sql STABLE STRICT
    AS $$
        SELECT zone !~ '^(posix|right)/'
           AND zone NOT IN ('posixrules', 'localtime', 'Factory')
           AND EXISTS (SELECT FROM pg_catalog.pg_timezone_names WHERE name = zone)
    $$;
COMMENT ON FUNCTION is_time_zone(text) IS 'Whether the text is the name of an IANA time zone that this server knows.';

-- What `seal.rs` writes begins with this magic and is never shorter than header + nonce + tag.
CREATE FUNCTION is_sealed(value bytea) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT pg_catalog.length(value) >= 46 AND pg_catalog.substring(value, 1, 8) = '\x726f737465726431'::bytea $$;
COMMENT ON FUNCTION is_sealed(bytea) IS 'Whether the bytes have the outer form of a secret sealed by rosterd.';

CREATE TABLE accounts (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name             text NOT NULL,
    time_zone        text NOT NULL DEFAULT 'UTC',
    import_enabled   boolean NOT NULL DEFAULT false,
    set_aside_at     timestamptz,
    set_aside_reason text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT accounts_name_unique UNIQUE (name),
    CONSTRAINT accounts_name_not_a_number CHECK (name !~ '^[0-9]+$'),
    CONSTRAINT accounts_name_not_blank CHECK (name ~ '\S'),
    CONSTRAINT accounts_time_zone_known CHECK (is_time_zone(time_zone))
);
COMMENT ON TABLE accounts IS 'The organisations whose contacts are kept (tenants).';
COMMENT ON COLUMN accounts.id IS 'Stable id.';
COMMENT ON COLUMN accounts.name IS 'What people call the account; never all digits, so that commands can take an id or a name.';
COMMENT ON COLUMN accounts.time_zone IS 'IANA zone in which the schedule is read, for example America/Vancouver.';
COMMENT ON COLUMN accounts.import_enabled IS 'While true the spreadsheet is master: only imports may write the contacts.';
COMMENT ON COLUMN accounts.set_aside_at IS 'Since when scheduled imports are stopped because the file killed its process repeatedly.';
COMMENT ON COLUMN accounts.set_aside_reason IS 'Why it was set aside, as a sentence.';
COMMENT ON COLUMN accounts.created_at IS 'When the account was added.';

CREATE TABLE account_admins (
    account_id bigint NOT NULL,
    email      text NOT NULL,
    name       text,
    notify     text NOT NULL DEFAULT 'all',
    CONSTRAINT account_admins_pkey PRIMARY KEY (account_id, email),
    CONSTRAINT account_admins_account FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE,
    CONSTRAINT account_admins_notify_known CHECK (notify IN ('all', 'problems')),
    CONSTRAINT account_admins_email_plausible CHECK (email ~ '^[^\s@]+@[^\s@]+$')
);
COMMENT ON TABLE account_admins IS 'Who receives the mail of an account.';
COMMENT ON COLUMN account_admins.account_id IS 'The account.';
COMMENT ON COLUMN account_admins.email IS 'Where the mail goes.';
COMMENT ON COLUMN account_admins.name IS 'How the mail addresses this person; optional.';
COMMENT ON COLUMN account_admins.notify IS 'all: also when a run removed contacts or emptied a group; problems: only errors, holds and failures.';

CREATE TABLE import_settings (
    account_id           bigint NOT NULL,
    source               text NOT NULL,
    url                  text,
    username             text,
    password_sealed      bytea,
    sftp_port            integer,
    sftp_host_key        text,
    s3_region            text,
    s3_access_key_id     text,
    s3_secret_sealed     bytea,
    hold_removed_percent integer NOT NULL DEFAULT 10,
    hold_removed_count   integer NOT NULL DEFAULT 5,
    hold_changed_percent integer NOT NULL DEFAULT 50,
    hold_error_percent   integer NOT NULL DEFAULT 25,
    updated_at           timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT import_settings_pkey PRIMARY KEY (account_id),
    CONSTRAINT import_settings_account FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE,
    CONSTRAINT import_settings_source_known CHECK (source IN ('https', 'https_basic', 'sftp', 's3')),
    -- Fields of another source must be NULL: a forgotten password must not linger where nobody looks for it.
    CONSTRAINT import_settings_username_of_source CHECK (username IS NULL OR source IN ('https_basic', 'sftp')),
    CONSTRAINT import_settings_password_of_source CHECK (password_sealed IS NULL OR source IN ('https_basic', 'sftp')),
    CONSTRAINT import_settings_sftp_of_source CHECK ((sftp_port IS NULL AND sftp_host_key IS NULL) OR source = 'sftp'),
    CONSTRAINT import_settings_s3_of_source
        CHECK ((s3_region IS NULL AND s3_access_key_id IS NULL AND s3_secret_sealed IS NULL) OR source = 's3'),
    -- Also the spellings that URL parsers forgive: no slashes, backslashes, no scheme at all.
    CONSTRAINT import_settings_url_without_credentials
        CHECK (url !~* '^\s*([a-z][a-z0-9+.-]*:[/\\]*)?[^/\\?#]*@'),
    CONSTRAINT import_settings_url_printable CHECK (url !~ '[[:cntrl:]]'),
    CONSTRAINT import_settings_password_sealed CHECK (is_sealed(password_sealed)),
    CONSTRAINT import_settings_s3_secret_sealed CHECK (is_sealed(s3_secret_sealed)),
    CONSTRAINT import_settings_sftp_port_range CHECK (sftp_port BETWEEN 1 AND 65535),
    CONSTRAINT import_settings_hold_ranges CHECK (
        hold_removed_percent BETWEEN 0 AND 100 AND hold_changed_percent BETWEEN 0 AND 100
        AND hold_error_percent BETWEEN 0 AND 100 AND hold_removed_count >= 0)
);
COMMENT ON TABLE import_settings IS 'Where an account''s spreadsheet lies, and when an import waits for a person.';
COMMENT ON COLUMN import_settings.account_id IS 'The account.';
COMMENT ON COLUMN import_settings.source IS 'https, https_basic, sftp or s3.';
COMMENT ON COLUMN import_settings.url IS 'Address of the file, without user or password.';
COMMENT ON COLUMN import_settings.username IS 'User name for https_basic and sftp.';
COMMENT ON COLUMN import_settings.password_sealed IS 'Password, sealed for this account, field and origin; written by `rosterd settings set`.';
COMMENT ON COLUMN import_settings.sftp_port IS 'Port of the SFTP server; NULL is 22.';
COMMENT ON COLUMN import_settings.sftp_host_key IS 'SHA-256 fingerprint pinned at first use.';
COMMENT ON COLUMN import_settings.s3_region IS 'AWS region, for example ca-central-1.';
COMMENT ON COLUMN import_settings.s3_access_key_id IS 'S3 access key id.';
COMMENT ON COLUMN import_settings.s3_secret_sealed IS 'S3 secret key, sealed like the password.';
COMMENT ON COLUMN import_settings.hold_removed_percent IS 'A run that removes more than this share of the contacts (per cent), and more than hold_removed_count, is held.';
COMMENT ON COLUMN import_settings.hold_removed_count IS 'See hold_removed_percent.';
COMMENT ON COLUMN import_settings.hold_changed_percent IS 'A run that gives more than this share of the contacts (per cent) another name or other numbers is held.';
COMMENT ON COLUMN import_settings.hold_error_percent IS 'A run with more than this share of rows newly in error (per cent) is held.';
COMMENT ON COLUMN import_settings.updated_at IS 'Last edit; set by the database.';

CREATE TABLE import_schedules (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  bigint NOT NULL,
    days        weekday[] NOT NULL,
    at          time(0) NOT NULL,
    enabled     boolean NOT NULL DEFAULT true,
    next_run_at timestamptz,
    edited      boolean NOT NULL DEFAULT true,
    CONSTRAINT import_schedules_account FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE,
    CONSTRAINT import_schedules_days_not_empty CHECK (cardinality(days) > 0 AND array_position(days, NULL) IS NULL),
    CONSTRAINT import_schedules_at_within_day CHECK (at < '24:00'::time)
);
COMMENT ON TABLE import_schedules IS 'When an account''s imports run: days and a time in the account''s zone. Edit freely in SQL; a running daemon follows within 2 s.';
COMMENT ON COLUMN import_schedules.id IS 'Stable id.';
COMMENT ON COLUMN import_schedules.account_id IS 'The account.';
COMMENT ON COLUMN import_schedules.days IS 'Days of the week, at least one.';
COMMENT ON COLUMN import_schedules.at IS 'Wall-clock time in the account''s zone.';
COMMENT ON COLUMN import_schedules.enabled IS 'False pauses this row.';
COMMENT ON COLUMN import_schedules.next_run_at IS 'Next run, computed by the daemon alone; NULL until it has seen the row.';
COMMENT ON COLUMN import_schedules.edited IS 'Set by the database when days, time, enabled or the zone change; cleared by the daemon once next_run_at follows.';
CREATE INDEX import_schedules_account_idx ON import_schedules (account_id);
CREATE INDEX import_schedules_due_idx ON import_schedules (next_run_at) WHERE enabled;
CREATE INDEX import_schedules_edited_idx ON import_schedules (id) WHERE edited OR next_run_at IS NULL;

CREATE TABLE import_runs (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id      bigint NOT NULL,
    trigger         text NOT NULL DEFAULT 'manual',
    status          text NOT NULL DEFAULT 'queued',
    origin          text NOT NULL DEFAULT 'source',
    due_at          timestamptz,
    requested_at    timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    attempts        integer NOT NULL DEFAULT 0,
    lease_owner     text,
    lease_until     timestamptz,
    fence           bigint NOT NULL DEFAULT 0,
    subject_run_id  bigint,
    superseded_by   bigint,
    hold_reasons    text[],
    sha256          bytea,
    etag            text,
    size_bytes      bigint,
    row_count       integer,
    added           integer,
    updated         integer,
    unchanged       integer,
    removed         integer,
    revived         integer,
    adopted         integer,
    withheld        integer,
    errors          integer,
    warnings        integer,
    contacts_after  integer,
    failure_code    text,
    failure_message text,
    CONSTRAINT import_runs_account FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE,
    CONSTRAINT import_runs_subject FOREIGN KEY (subject_run_id) REFERENCES import_runs (id) ON DELETE SET NULL,
    CONSTRAINT import_runs_successor FOREIGN KEY (superseded_by) REFERENCES import_runs (id) ON DELETE SET NULL,
    CONSTRAINT import_runs_trigger_known CHECK (trigger IN ('schedule', 'manual', 'approval', 'revert')),
    CONSTRAINT import_runs_origin_known CHECK (origin IN ('source', 'file')),
    CONSTRAINT import_runs_status_known CHECK (status IN (
        'queued', 'running', 'succeeded', 'unchanged', 'succeeded_with_issues', 'held', 'failed', 'rejected', 'superseded')),
    CONSTRAINT import_runs_running_has_lease CHECK (status <> 'running' OR (lease_owner IS NOT NULL AND lease_until IS NOT NULL)),
    CONSTRAINT import_runs_failed_has_code CHECK (status <> 'failed' OR failure_code IS NOT NULL)
);
COMMENT ON TABLE import_runs IS 'One import of one account. INSERT INTO import_runs (account_id) VALUES (…) asks a running daemon for one now.';
COMMENT ON COLUMN import_runs.id IS 'Stable id, as shown by `rosterd runs list`.';
COMMENT ON COLUMN import_runs.account_id IS 'The account.';
COMMENT ON COLUMN import_runs.trigger IS 'schedule, manual, approval or revert.';
COMMENT ON COLUMN import_runs.status IS 'queued, running, succeeded, unchanged, succeeded_with_issues, held, failed, rejected or superseded.';
COMMENT ON COLUMN import_runs.origin IS 'source: fetched as the settings say; file: a local file given to `rosterd import --file`.';
COMMENT ON COLUMN import_runs.due_at IS 'The slot of the schedule that this run serves.';
COMMENT ON COLUMN import_runs.requested_at IS 'When the run was asked for.';
COMMENT ON COLUMN import_runs.started_at IS 'When it was last taken up.';
COMMENT ON COLUMN import_runs.finished_at IS 'When it ended.';
COMMENT ON COLUMN import_runs.attempts IS 'How often it was taken up; more than one only after a process died on it.';
COMMENT ON COLUMN import_runs.lease_owner IS 'Process that runs it now.';
COMMENT ON COLUMN import_runs.lease_until IS 'Until when that process vouches for it.';
COMMENT ON COLUMN import_runs.fence IS 'Counts the times the run was taken up; a process with an older number can no longer commit.';
COMMENT ON COLUMN import_runs.subject_run_id IS 'The run that this one approves or reverts.';
COMMENT ON COLUMN import_runs.superseded_by IS 'The run that took this one''s place.';
COMMENT ON COLUMN import_runs.hold_reasons IS 'Why the run is held; see the README, "When an import waits for you".';
COMMENT ON COLUMN import_runs.sha256 IS 'SHA-256 of the file''s bytes.';
COMMENT ON COLUMN import_runs.etag IS 'ETag that came with the file.';
COMMENT ON COLUMN import_runs.size_bytes IS 'Size of the file, bytes.';
COMMENT ON COLUMN import_runs.row_count IS 'Data rows in the file, without header and blank rows.';
COMMENT ON COLUMN import_runs.added IS 'Contacts added (held: that would be).';
COMMENT ON COLUMN import_runs.updated IS 'Contacts updated.';
COMMENT ON COLUMN import_runs.unchanged IS 'Contacts that did not differ.';
COMMENT ON COLUMN import_runs.removed IS 'Contacts removed.';
COMMENT ON COLUMN import_runs.revived IS 'Contacts removed earlier that came back.';
COMMENT ON COLUMN import_runs.adopted IS 'Contacts made by hand that got their external ID.';
COMMENT ON COLUMN import_runs.withheld IS 'Contacts not removed because a row''s ID could not be known or the file may be cut off.';
COMMENT ON COLUMN import_runs.errors IS 'Issues of severity error.';
COMMENT ON COLUMN import_runs.warnings IS 'Issues of severity warning.';
COMMENT ON COLUMN import_runs.contacts_after IS 'Contacts of the account after the run, without the removed.';
COMMENT ON COLUMN import_runs.failure_code IS 'Why it failed, as a fixed word.';
COMMENT ON COLUMN import_runs.failure_message IS 'Why it failed, as a sentence.';
CREATE INDEX import_runs_account_idx ON import_runs (account_id, id DESC);
CREATE INDEX import_runs_queue_idx ON import_runs (requested_at, id) WHERE status = 'queued';
-- One run an account at a time and at most one held, whatever any process believes.
CREATE UNIQUE INDEX import_runs_one_running ON import_runs (account_id) WHERE status = 'running';
CREATE UNIQUE INDEX import_runs_one_held ON import_runs (account_id) WHERE status = 'held';
CREATE INDEX import_runs_subject_idx ON import_runs (subject_run_id) WHERE subject_run_id IS NOT NULL;
CREATE INDEX import_runs_successor_idx ON import_runs (superseded_by) WHERE superseded_by IS NOT NULL;

CREATE TABLE import_state (
    account_id        bigint NOT NULL,
    applied_run_id    bigint,
    sha256            bytea,
    etag              text,
    last_modified     text,
    size_bytes        bigint,
    mtime             timestamptz,
    reader_version    integer,
    must_confirm      text,
    failing_since     timestamptz,
    failure_code      text,
    failure_mailed_at timestamptz,
    final_newline     boolean,
    accepted_rows     bytea[] NOT NULL DEFAULT '{}',
    CONSTRAINT import_state_pkey PRIMARY KEY (account_id),
    CONSTRAINT import_state_account FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE,
    CONSTRAINT import_state_applied_run FOREIGN KEY (applied_run_id) REFERENCES import_runs (id) ON DELETE SET NULL,
    CONSTRAINT import_state_must_confirm_known CHECK (must_confirm IN ('first_import', 'after_revert'))
);
COMMENT ON TABLE import_state IS 'What rosterd remembers of an account between runs.';
COMMENT ON COLUMN import_state.account_id IS 'The account.';
COMMENT ON COLUMN import_state.applied_run_id IS 'The last run whose plan was applied.';
COMMENT ON COLUMN import_state.sha256 IS 'SHA-256 of the last applied file; NULL when it must be read again in any case.';
COMMENT ON COLUMN import_state.etag IS 'ETag of the last applied file.';
COMMENT ON COLUMN import_state.last_modified IS 'Last-Modified header of the last applied file, as sent.';
COMMENT ON COLUMN import_state.size_bytes IS 'Size of the last applied file, bytes.';
COMMENT ON COLUMN import_state.mtime IS 'Modification time of the last applied file (SFTP).';
COMMENT ON COLUMN import_state.reader_version IS 'Version of the reader that read the last applied file.';
COMMENT ON COLUMN import_state.must_confirm IS 'first_import or after_revert: the next run is held if it would remove, change or adopt anyone.';
COMMENT ON COLUMN import_state.failing_since IS 'When the present series of failed runs began.';
COMMENT ON COLUMN import_state.failure_code IS 'Failure code of that series, as last mailed.';
COMMENT ON COLUMN import_state.failure_mailed_at IS 'When that failure was last mailed.';
COMMENT ON COLUMN import_state.final_newline IS 'Whether the last applied CSV file ended with a newline; NULL for xlsx.';
COMMENT ON COLUMN import_state.accepted_rows IS 'SHA-256 of the nameless rows that a person has accepted by approving.';
CREATE INDEX import_state_applied_run_idx ON import_state (applied_run_id);

CREATE TABLE import_changes (
    run_id      bigint NOT NULL,
    contact_id  bigint,
    external_id text,
    action      text NOT NULL,
    applied     boolean NOT NULL,
    row_number  integer,
    before      jsonb,
    after       jsonb,
    CONSTRAINT import_changes_run FOREIGN KEY (run_id) REFERENCES import_runs (id) ON DELETE CASCADE,
    CONSTRAINT import_changes_action_known CHECK (action IN ('added', 'updated', 'removed', 'revived', 'adopted'))
);
COMMENT ON TABLE import_changes IS 'What a run did to each contact, or, of a held run or a withheld removal, would do.';
COMMENT ON COLUMN import_changes.run_id IS 'The run.';
COMMENT ON COLUMN import_changes.contact_id IS 'The contact; NULL for an addition that was not applied. Not a foreign key: history outlives the contact.';
COMMENT ON COLUMN import_changes.external_id IS 'The contact''s ID in the spreadsheet; NULL for one made by hand.';
COMMENT ON COLUMN import_changes.action IS 'added, updated, removed, revived or adopted.';
COMMENT ON COLUMN import_changes.applied IS 'False where the change waits for a person.';
COMMENT ON COLUMN import_changes.row_number IS 'The spreadsheet row it came from (the first, if several).';
COMMENT ON COLUMN import_changes.before IS 'The contact with numbers and groups before the run.';
COMMENT ON COLUMN import_changes.after IS 'The same after the run.';
CREATE INDEX import_changes_run_idx ON import_changes (run_id);

CREATE TABLE import_issues (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id       bigint NOT NULL,
    account_id   bigint NOT NULL,
    severity     text NOT NULL,
    code         text NOT NULL,
    row_number   integer,
    column_name  text,
    cell         text,
    value        text,
    external_id  text,
    contact_name text,
    message      text NOT NULL,
    is_new       boolean NOT NULL DEFAULT true,
    row_digest   bytea,
    CONSTRAINT import_issues_run FOREIGN KEY (run_id) REFERENCES import_runs (id) ON DELETE CASCADE,
    CONSTRAINT import_issues_account FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE,
    CONSTRAINT import_issues_severity_known CHECK (severity IN ('error', 'warning', 'notice'))
);
COMMENT ON TABLE import_issues IS 'What was wrong or odd in the file of a run.';
COMMENT ON COLUMN import_issues.id IS 'Stable id, in the order of the sheet.';
COMMENT ON COLUMN import_issues.run_id IS 'The run.';
COMMENT ON COLUMN import_issues.account_id IS 'The account.';
COMMENT ON COLUMN import_issues.severity IS 'error: the contact was not imported; warning: it was; notice: nothing to do.';
COMMENT ON COLUMN import_issues.code IS 'What is wrong, as a fixed word.';
COMMENT ON COLUMN import_issues.row_number IS 'The row as the spreadsheet program shows it; NULL for the file as a whole.';
COMMENT ON COLUMN import_issues.column_name IS 'The column''s header.';
COMMENT ON COLUMN import_issues.cell IS 'The cell as the spreadsheet program names it, for example E17.';
COMMENT ON COLUMN import_issues.value IS 'The offending value, cut at 200 characters.';
COMMENT ON COLUMN import_issues.external_id IS 'The contact''s ID, where known.';
COMMENT ON COLUMN import_issues.contact_name IS 'The contact''s name, where known.';
COMMENT ON COLUMN import_issues.message IS 'What is wrong and what to do, as a sentence.';
COMMENT ON COLUMN import_issues.is_new IS 'False if the last applied or held run had the same issue.';
COMMENT ON COLUMN import_issues.row_digest IS 'Of a nameless row: SHA-256 of its cells, by which it is known again.';
CREATE INDEX import_issues_run_idx ON import_issues (run_id, id);
CREATE INDEX import_issues_account_idx ON import_issues (account_id);

CREATE TABLE contacts (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id            bigint NOT NULL,
    external_id           text,
    name                  text NOT NULL,
    organization_name     text,
    title                 text,
    email                 text,
    notification_priority text NOT NULL DEFAULT 'normal',
    digest                bytea,
    removed_at            timestamptz,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT contacts_account FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE,
    CONSTRAINT contacts_priority_known CHECK (notification_priority IN ('high', 'normal', 'low'))
);
COMMENT ON TABLE contacts IS 'The people who are called out. Ids never change through an import.';
COMMENT ON COLUMN contacts.id IS 'Stable id; duty state and phone lines of the platform point at it.';
COMMENT ON COLUMN contacts.account_id IS 'The account.';
COMMENT ON COLUMN contacts.external_id IS 'ID in the spreadsheet, compared exactly; NULL for a contact made by hand.';
COMMENT ON COLUMN contacts.name IS 'First and last name.';
COMMENT ON COLUMN contacts.organization_name IS 'Organization the contact is affiliated with.';
COMMENT ON COLUMN contacts.title IS 'Title and/or accreditations.';
COMMENT ON COLUMN contacts.email IS 'E-mail address, case kept.';
COMMENT ON COLUMN contacts.notification_priority IS 'high, normal or low: the order of calls and texts.';
COMMENT ON COLUMN contacts.digest IS 'Digest of all fields, numbers and groups as last imported; NULL once anything else wrote.';
COMMENT ON COLUMN contacts.removed_at IS 'When the contact was removed; it can be revived until it is purged.';
COMMENT ON COLUMN contacts.created_at IS 'When the contact was added.';
COMMENT ON COLUMN contacts.updated_at IS 'When the contact last changed.';
-- An ID may be of any length, which a plain index cannot hold; 128 bits of it can.
CREATE UNIQUE INDEX contacts_external_id_unique ON contacts (account_id, (md5(external_id)::uuid));

CREATE TABLE contact_numbers (
    contact_id  bigint NOT NULL,
    position    smallint NOT NULL,
    number      text NOT NULL,
    number_type text NOT NULL,
    description text,
    CONSTRAINT contact_numbers_pkey PRIMARY KEY (contact_id, position),
    CONSTRAINT contact_numbers_contact FOREIGN KEY (contact_id) REFERENCES contacts (id) ON DELETE CASCADE,
    CONSTRAINT contact_numbers_position_from_1 CHECK (position >= 1),
    CONSTRAINT contact_numbers_ten_digits CHECK (number ~ '^[0-9]{10}$'),
    CONSTRAINT contact_numbers_type_known CHECK (number_type IN ('mobile', 'landline', 'pager'))
);
COMMENT ON TABLE contact_numbers IS 'The phone numbers of a contact, in the order of the spreadsheet.';
COMMENT ON COLUMN contact_numbers.contact_id IS 'The contact.';
COMMENT ON COLUMN contact_numbers.position IS 'Order, from 1.';
COMMENT ON COLUMN contact_numbers.number IS 'Ten digits of the North American Numbering Plan.';
COMMENT ON COLUMN contact_numbers.number_type IS 'mobile, landline or pager.';
COMMENT ON COLUMN contact_numbers.description IS 'Tells one number from another: work, home.';

CREATE TABLE groups (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL,
    name       text NOT NULL,
    name_key   text NOT NULL,
    removed_at timestamptz,
    CONSTRAINT groups_account FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE,
    CONSTRAINT groups_name_key_unique UNIQUE (account_id, name_key)
);
COMMENT ON TABLE groups IS 'Groups of contacts; made on sight, removed when nobody is left in them, never purged.';
COMMENT ON COLUMN groups.id IS 'Stable id; a group that comes back has the same.';
COMMENT ON COLUMN groups.account_id IS 'The account.';
COMMENT ON COLUMN groups.name IS 'Name as the spreadsheet spells it.';
COMMENT ON COLUMN groups.name_key IS 'Name without regard to case, by which groups are matched (a very long one is shortened to a digest).';
COMMENT ON COLUMN groups.removed_at IS 'When the last member left.';

CREATE TABLE group_members (
    group_id   bigint NOT NULL,
    contact_id bigint NOT NULL,
    CONSTRAINT group_members_pkey PRIMARY KEY (contact_id, group_id),
    CONSTRAINT group_members_group FOREIGN KEY (group_id) REFERENCES groups (id) ON DELETE CASCADE,
    CONSTRAINT group_members_contact FOREIGN KEY (contact_id) REFERENCES contacts (id) ON DELETE CASCADE
);
COMMENT ON TABLE group_members IS 'Who is in which group. A removed contact keeps its memberships for restoring.';
COMMENT ON COLUMN group_members.group_id IS 'The group.';
COMMENT ON COLUMN group_members.contact_id IS 'The contact.';
CREATE INDEX group_members_group_idx ON group_members (group_id);

CREATE TABLE mail_outbox (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id          bigint,
    account_id      bigint,
    recipient       text NOT NULL,
    message_id      text NOT NULL,
    subject         text NOT NULL,
    body_text       text NOT NULL DEFAULT '',
    body_html       text NOT NULL DEFAULT '',
    attachment_name text,
    attachment      text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    attempts        integer NOT NULL DEFAULT 0,
    sent_at         timestamptz,
    failed_at       timestamptz,
    last_error      text,
    CONSTRAINT mail_outbox_run FOREIGN KEY (run_id) REFERENCES import_runs (id) ON DELETE SET NULL,
    CONSTRAINT mail_outbox_account FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE,
    CONSTRAINT mail_outbox_message_id_unique UNIQUE (message_id)
);
COMMENT ON TABLE mail_outbox IS 'Mail on its way: written in the transaction of the run''s outcome, delivered at least once.';
COMMENT ON COLUMN mail_outbox.id IS 'Stable id.';
COMMENT ON COLUMN mail_outbox.run_id IS 'The run it reports.';
COMMENT ON COLUMN mail_outbox.account_id IS 'The account it concerns.';
COMMENT ON COLUMN mail_outbox.recipient IS 'One address; one message per recipient, so that one refusal stops nobody else''s.';
COMMENT ON COLUMN mail_outbox.message_id IS 'Message-ID, the same at every attempt, so that a repeat can be told.';
COMMENT ON COLUMN mail_outbox.subject IS 'Subject line.';
COMMENT ON COLUMN mail_outbox.body_text IS 'Plain-text body.';
COMMENT ON COLUMN mail_outbox.body_html IS 'HTML body.';
COMMENT ON COLUMN mail_outbox.attachment_name IS 'File name of the attachment, if any.';
COMMENT ON COLUMN mail_outbox.attachment IS 'The attachment: all issues as CSV.';
COMMENT ON COLUMN mail_outbox.created_at IS 'When it was queued.';
COMMENT ON COLUMN mail_outbox.next_attempt_at IS 'Not tried before this.';
COMMENT ON COLUMN mail_outbox.attempts IS 'How often delivery was begun.';
COMMENT ON COLUMN mail_outbox.sent_at IS 'When the mail server took it.';
COMMENT ON COLUMN mail_outbox.failed_at IS 'When it was refused for good.';
COMMENT ON COLUMN mail_outbox.last_error IS 'What the mail server or the connection said last.';
CREATE INDEX mail_outbox_due_idx ON mail_outbox (next_attempt_at) WHERE sent_at IS NULL AND failed_at IS NULL;
CREATE INDEX mail_outbox_run_idx ON mail_outbox (run_id);
CREATE INDEX mail_outbox_account_idx ON mail_outbox (account_id);

CREATE VIEW active_contacts AS SELECT * FROM contacts WHERE removed_at IS NULL;
COMMENT ON VIEW active_contacts IS 'Contacts without the removed, for the platform to read.';
CREATE VIEW active_groups AS SELECT * FROM groups WHERE removed_at IS NULL;
COMMENT ON VIEW active_groups IS 'Groups without the removed, for the platform to read.';
CREATE VIEW active_group_members AS
    SELECT m.group_id, m.contact_id
    FROM group_members m
    JOIN contacts c ON c.id = m.contact_id AND c.removed_at IS NULL
    JOIN groups g ON g.id = m.group_id AND g.removed_at IS NULL;
COMMENT ON VIEW active_group_members IS 'Members without the removed, for the platform to read.';
