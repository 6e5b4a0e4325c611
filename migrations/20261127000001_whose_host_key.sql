-- A pinned host key is that of one server: it waits while the settings name another one. Its kind is asked for first, so that
-- a server that comes to have a better key besides still shows the pinned one.
ALTER TABLE import_settings
    ADD COLUMN sftp_host_key_kind text,
    ADD COLUMN sftp_host_key_of text,
    ADD CONSTRAINT import_settings_host_key_kind_known CHECK (sftp_host_key_kind IN
        ('ssh-ed25519', 'ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp521', 'ssh-rsa')),
    ADD CONSTRAINT import_settings_host_key_whole CHECK (sftp_host_key IS NOT NULL
        OR (sftp_host_key_kind IS NULL AND sftp_host_key_of IS NULL));
COMMENT ON COLUMN import_settings.sftp_host_key_kind IS
    'What sort of key sftp_host_key is, as SSH names it; NULL, as after an edit of the key in SQL: not known.';
COMMENT ON COLUMN import_settings.sftp_host_key_of IS
    'The server whose key sftp_host_key is (sftp://host:port); NULL, as after an edit of the key in SQL: whichever url names.';

CREATE OR REPLACE FUNCTION stamp_settings() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF NEW.sftp_host_key IS NULL THEN
            NEW.sftp_host_key_kind := NULL;
            NEW.sftp_host_key_of := NULL;
        ELSIF TG_OP = 'UPDATE' AND NEW.sftp_host_key IS DISTINCT FROM OLD.sftp_host_key
            AND NEW.sftp_host_key_of IS NOT DISTINCT FROM OLD.sftp_host_key_of THEN
            -- Entered by hand, for the address as it stands.
            NEW.sftp_host_key_kind := NULL;
            NEW.sftp_host_key_of := NULL;
        END IF;
        -- A key that is pinned where this server had none is no edit of the settings.
        IF TG_OP = 'UPDATE' AND NEW.sftp_host_key IS NOT NULL
            AND (OLD.sftp_host_key IS NULL
                OR (NEW.sftp_host_key_of IS NOT NULL AND NEW.sftp_host_key_of IS DISTINCT FROM OLD.sftp_host_key_of))
            AND to_jsonb(OLD) - '{sftp_host_key,sftp_host_key_kind,sftp_host_key_of}'::text[]
              = to_jsonb(NEW) - '{sftp_host_key,sftp_host_key_kind,sftp_host_key_of}'::text[] THEN
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
