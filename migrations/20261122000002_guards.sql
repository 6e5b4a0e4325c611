-- What the database itself watches over: the lock of SPEC §3.6, what makes rosterd forget that a file is unchanged
-- (§3.4), and what tells the daemon that a schedule was edited (§5).
--
-- rosterd marks its own writes with SET LOCAL rosterd.writer = 'on'. That is a guard-rail against the other programs
-- of the platform, not a security boundary.

CREATE FUNCTION forget_applied_file(account bigint) RETURNS void
    LANGUAGE sql
    AS $$
        UPDATE import_state
        SET sha256 = NULL, etag = NULL, last_modified = NULL, size_bytes = NULL, mtime = NULL
        WHERE account_id = account
          AND (sha256 IS NOT NULL OR etag IS NOT NULL OR last_modified IS NOT NULL OR mtime IS NOT NULL)
    $$;
COMMENT ON FUNCTION forget_applied_file(bigint) IS 'Makes the next run of the account read its file whatever it looks like.';

-- Refuses while the account is imported; otherwise notes that something else has written.
CREATE FUNCTION check_foreign_write(account bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
    DECLARE
        found record;
    BEGIN
        SELECT a.name, a.import_enabled, split_part(split_part(s.url, '?', 1), '#', 1) AS url INTO found
        FROM accounts a LEFT JOIN import_settings s ON s.account_id = a.id
        WHERE a.id = account;
        IF found.import_enabled THEN
            RAISE EXCEPTION 'contacts and groups of account "%" are managed by an import from %', found.name,
                coalesce(found.url, 'a spreadsheet')
                USING ERRCODE = 'insufficient_privilege',
                      HINT = 'Change the spreadsheet there, or switch the import off first: '
                             || format('rosterd account disable %s', account);
        END IF;
        PERFORM forget_applied_file(account);
    END
    $$;
COMMENT ON FUNCTION check_foreign_write(bigint) IS 'The lock of an account against writers other than rosterd.';

CREATE FUNCTION guard_account_rows() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        -- While an account is deleted its row is gone before its contacts are: nothing is found, nothing refused.
        IF TG_OP <> 'INSERT' THEN
            PERFORM check_foreign_write(OLD.account_id);
        END IF;
        IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND NEW.account_id <> OLD.account_id) THEN
            PERFORM check_foreign_write(NEW.account_id);
        END IF;
        RETURN NULL;
    END
    $$;
COMMENT ON FUNCTION guard_account_rows() IS 'Trigger: the lock on contacts and groups.';

CREATE FUNCTION guard_contact_rows() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        touched bigint[] := '{}';
        owner record;
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            touched := touched || OLD.contact_id;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            touched := touched || NEW.contact_id;
        END IF;
        FOR owner IN SELECT DISTINCT account_id FROM contacts WHERE id = ANY (touched) LOOP
            PERFORM check_foreign_write(owner.account_id);
        END LOOP;
        UPDATE contacts SET digest = NULL WHERE id = ANY (touched) AND digest IS NOT NULL;
        RETURN NULL;
    END
    $$;
COMMENT ON FUNCTION guard_contact_rows() IS 'Trigger: the lock on numbers and members.';

CREATE FUNCTION guard_truncate() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF EXISTS (SELECT FROM accounts WHERE import_enabled) THEN
            RAISE EXCEPTION 'table % cannot be truncated: it holds contacts or groups of accounts that are managed by an import', TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege',
                      HINT = 'Switch the imports off first: rosterd account disable ACCOUNT';
        END IF;
        RETURN NULL;
    END
    $$;
COMMENT ON FUNCTION guard_truncate() IS 'Trigger: TRUNCATE is refused while any account is imported.';

CREATE FUNCTION clear_digest() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        NEW.digest := NULL;
        RETURN NEW;
    END
    $$;
COMMENT ON FUNCTION clear_digest() IS 'Trigger: a contact that something else wrote no longer equals what was imported.';

-- AFTER, not BEFORE: a BEFORE INSERT row trigger would make COPY insert row by row.
CREATE TRIGGER lock_contacts AFTER INSERT OR UPDATE OR DELETE ON contacts FOR EACH ROW
    WHEN (current_setting('rosterd.writer', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION guard_account_rows();
CREATE TRIGGER lock_groups AFTER INSERT OR UPDATE OR DELETE ON groups FOR EACH ROW
    WHEN (current_setting('rosterd.writer', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION guard_account_rows();
CREATE TRIGGER lock_contact_numbers AFTER INSERT OR UPDATE OR DELETE ON contact_numbers FOR EACH ROW
    WHEN (current_setting('rosterd.writer', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION guard_contact_rows();
CREATE TRIGGER lock_group_members AFTER INSERT OR UPDATE OR DELETE ON group_members FOR EACH ROW
    WHEN (current_setting('rosterd.writer', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION guard_contact_rows();
CREATE TRIGGER clear_contact_digest BEFORE UPDATE ON contacts FOR EACH ROW
    WHEN (current_setting('rosterd.writer', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION clear_digest();
CREATE TRIGGER lock_contacts_truncate BEFORE TRUNCATE ON contacts EXECUTE FUNCTION guard_truncate();
CREATE TRIGGER lock_groups_truncate BEFORE TRUNCATE ON groups EXECUTE FUNCTION guard_truncate();
CREATE TRIGGER lock_contact_numbers_truncate BEFORE TRUNCATE ON contact_numbers EXECUTE FUNCTION guard_truncate();
CREATE TRIGGER lock_group_members_truncate BEFORE TRUNCATE ON group_members EXECUTE FUNCTION guard_truncate();

-- Enabling starts afresh: nothing is caught up, and the first run that would touch anyone waits for a person.
CREATE FUNCTION follow_account() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO import_state (account_id, must_confirm)
            VALUES (NEW.id, CASE WHEN NEW.import_enabled THEN 'first_import' END);
            RETURN NULL;
        END IF;
        IF NEW.import_enabled AND NOT OLD.import_enabled THEN
            UPDATE import_state SET must_confirm = 'first_import' WHERE account_id = NEW.id;
            PERFORM forget_applied_file(NEW.id);
            UPDATE import_schedules SET next_run_at = NULL WHERE account_id = NEW.id;
        END IF;
        IF NEW.time_zone <> OLD.time_zone THEN
            UPDATE import_schedules SET edited = true WHERE account_id = NEW.id;
        END IF;
        RETURN NULL;
    END
    $$;
COMMENT ON FUNCTION follow_account() IS 'Trigger: what enabling, a new zone and a new account entail.';
CREATE TRIGGER follow_account AFTER INSERT OR UPDATE OF import_enabled, time_zone ON accounts
    FOR EACH ROW EXECUTE FUNCTION follow_account();

-- The daemon writes next_run_at and edited only, so its own update does not raise the flag again.
CREATE FUNCTION flag_schedule_edit() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        NEW.edited := true;
        RETURN NEW;
    END
    $$;
COMMENT ON FUNCTION flag_schedule_edit() IS 'Trigger: tells the daemon to compute next_run_at anew.';
CREATE TRIGGER flag_schedule_edit BEFORE UPDATE ON import_schedules FOR EACH ROW
    WHEN ((OLD.account_id, OLD.days, OLD.at, OLD.enabled) IS DISTINCT FROM (NEW.account_id, NEW.days, NEW.at, NEW.enabled))
    EXECUTE FUNCTION flag_schedule_edit();

-- clock_timestamp(), not now(): two edits must never carry the same time, a running import compares it.
CREATE FUNCTION stamp_settings() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        NEW.updated_at := clock_timestamp();
        PERFORM forget_applied_file(NEW.account_id);
        RETURN NEW;
    END
    $$;
COMMENT ON FUNCTION stamp_settings() IS 'Trigger: notes when settings were edited and forgets that the file was unchanged.';
CREATE TRIGGER stamp_settings BEFORE INSERT OR UPDATE ON import_settings FOR EACH ROW EXECUTE FUNCTION stamp_settings();
