-- Who is put into a group changes the group: the lock looks at the account of both, which must be the same one.
CREATE FUNCTION guard_member_statement() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        contacts_touched bigint[];
        groups_touched bigint[];
        owner record;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            contacts_touched := ARRAY(SELECT DISTINCT contact_id FROM new_rows);
            groups_touched := ARRAY(SELECT DISTINCT group_id FROM new_rows);
        ELSIF TG_OP = 'DELETE' THEN
            -- Who is in the group of another account since earlier times may go.
            contacts_touched := ARRAY(SELECT DISTINCT contact_id FROM old_rows);
        ELSE
            contacts_touched := ARRAY(SELECT contact_id FROM old_rows UNION SELECT contact_id FROM new_rows);
            groups_touched := ARRAY(SELECT group_id FROM old_rows UNION SELECT group_id FROM new_rows);
        END IF;
        FOR owner IN
            SELECT account_id FROM contacts WHERE id = ANY (contacts_touched)
            UNION
            SELECT account_id FROM groups WHERE id = ANY (groups_touched)
        LOOP
            PERFORM check_foreign_write(owner.account_id);
        END LOOP;
        IF TG_OP <> 'DELETE' THEN
            PERFORM FROM new_rows m JOIN contacts c ON c.id = m.contact_id JOIN groups g ON g.id = m.group_id
            WHERE c.account_id <> g.account_id;
            IF FOUND THEN
                RAISE EXCEPTION 'a contact can only be in groups of its own account'
                    USING ERRCODE = 'check_violation',
                          TABLE = 'group_members', CONSTRAINT = 'group_members_of_one_account';
            END IF;
        END IF;
        UPDATE contacts SET digest = NULL WHERE id = ANY (contacts_touched) AND digest IS NOT NULL;
        RETURN NULL;
    END
    $$;
COMMENT ON FUNCTION guard_member_statement() IS 'Trigger: the lock on members.';
COMMENT ON FUNCTION guard_contact_statement() IS 'Trigger: the lock on numbers.';

DROP TRIGGER lock_group_members_insert ON group_members;
DROP TRIGGER lock_group_members_update ON group_members;
DROP TRIGGER lock_group_members_delete ON group_members;
CREATE TRIGGER lock_group_members_insert AFTER INSERT ON group_members REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT WHEN (current_setting('rosterd.writer', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION guard_member_statement();
CREATE TRIGGER lock_group_members_update AFTER UPDATE ON group_members REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT WHEN (current_setting('rosterd.writer', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION guard_member_statement();
CREATE TRIGGER lock_group_members_delete AFTER DELETE ON group_members REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT WHEN (current_setting('rosterd.writer', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION guard_member_statement();
