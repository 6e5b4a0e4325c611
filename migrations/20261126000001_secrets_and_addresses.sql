-- A secret that is sealed with another key is the same secret: the settings are not edited by that.
CREATE OR REPLACE FUNCTION stamp_settings() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND OLD.sftp_host_key IS NULL
            AND to_jsonb(OLD) - 'sftp_host_key' = to_jsonb(NEW) - 'sftp_host_key'
            AND NEW.sftp_host_key IS NOT NULL THEN
            RETURN NEW;
        END IF;
        IF TG_OP = 'UPDATE' AND current_setting('rosterd.resealing', true) = 'on'
            AND to_jsonb(OLD) - '{password_sealed,s3_secret_sealed}'::text[]
              = to_jsonb(NEW) - '{password_sealed,s3_secret_sealed}'::text[] THEN
            RETURN NEW;
        END IF;
        NEW.updated_at := clock_timestamp();
        PERFORM forget_applied_file(NEW.account_id);
        RETURN NEW;
    END
    $$;

-- A password may have a question mark or a hash, and the secret of an S3 key a slash. Addresses that are stored stay.
ALTER TABLE import_settings ADD CONSTRAINT import_settings_url_without_secrets
    CHECK (url !~* '^\s*([a-z][a-z0-9+.-]*:[/\\]*)?[^/\\]*@' AND url !~* '^\s*s3:[/\\]*[^/\\]*:.*@') NOT VALID;

-- What the lock tells other programs of an address has no password in it, whatever is stored.
CREATE OR REPLACE FUNCTION check_foreign_write(account bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
    DECLARE
        found record;
    BEGIN
        IF NOT (SELECT import_enabled FROM accounts WHERE id = account) THEN
            PERFORM FROM accounts WHERE id = account FOR SHARE;
        END IF;
        SELECT a.name, a.import_enabled,
               CASE WHEN s.url !~ '@' THEN split_part(split_part(s.url, '?', 1), '#', 1) END AS url INTO found
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
