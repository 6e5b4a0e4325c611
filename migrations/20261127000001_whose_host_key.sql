-- A pinned host key is that of one server: it waits while the settings name another one. Its kind is asked for first, so that
-- a server that comes to have a better key besides still shows the pinned one.
ALTER TABLE import_settings
    ADD COLUMN sftp_host_key_kind text,
    ADD COLUMN sftp_host_key_of text,
    ADD CONSTRAINT import_settings_host_key_kind_known CHECK (sftp_host_key_kind IN
        ('ssh-ed25519', 'ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp521', 'ssh-rsa')),
    ADD CONSTRAINT import_settings_host_key_server CHECK (sftp_host_key_of ~ '^sftp://[^/[:upper:][:space:]]+:[0-9]+$'),
    ADD CONSTRAINT import_settings_host_key_whole CHECK (sftp_host_key IS NOT NULL
        OR (sftp_host_key_kind IS NULL AND sftp_host_key_of IS NULL));
COMMENT ON COLUMN import_settings.sftp_host_key_kind IS
    'What sort of key sftp_host_key is, as SSH names it; NULL, as after an edit of the key in SQL: not known.';
COMMENT ON COLUMN import_settings.sftp_host_key_of IS
    'The server whose key sftp_host_key is (sftp://host:port); NULL, as after an edit of the key in SQL: whichever url names.';

CREATE TABLE sftp_host_keys (
    account_id  bigint NOT NULL,
    server      text NOT NULL,
    fingerprint text NOT NULL,
    kind        text,
    CONSTRAINT sftp_host_keys_pkey PRIMARY KEY (account_id, server),
    CONSTRAINT sftp_host_keys_account FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE
);
COMMENT ON TABLE sftp_host_keys IS
    'Pinned host keys of SFTP servers that an account''s settings named before; that of the present one stands in import_settings.';
COMMENT ON COLUMN sftp_host_keys.account_id IS 'The account.';
COMMENT ON COLUMN sftp_host_keys.server IS 'Whose key it is (sftp://host:port).';
COMMENT ON COLUMN sftp_host_keys.fingerprint IS 'The key, as OpenSSH shows it (SHA256:…).';
COMMENT ON COLUMN sftp_host_keys.kind IS 'What sort of key, as SSH names it; NULL: not known.';

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
        -- The key of a server is kept while that of another is pinned.
        IF TG_OP = 'UPDATE' AND NEW.sftp_host_key_of IS DISTINCT FROM OLD.sftp_host_key_of
            AND (NEW.sftp_host_key_of IS NOT NULL OR NEW.source <> 'sftp') THEN
            DELETE FROM sftp_host_keys WHERE account_id = NEW.account_id AND server = NEW.sftp_host_key_of;
            INSERT INTO sftp_host_keys (account_id, server, fingerprint, kind)
            SELECT OLD.account_id, OLD.sftp_host_key_of, OLD.sftp_host_key, OLD.sftp_host_key_kind
            WHERE OLD.sftp_host_key_of IS NOT NULL
            ON CONFLICT (account_id, server) DO UPDATE SET fingerprint = excluded.fingerprint, kind = excluded.kind;
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
