-- Roles that own objects and hold grants in torture.sql. May run any number of
-- times on one server; no role has a password and none may log in.
-- torture_super is a superuser because only superusers may own event triggers,
-- foreign-data wrappers and (up to PostgreSQL 15) subscriptions.

SET client_min_messages = warning;

DO $roles$
DECLARE
  r text;
BEGIN
  FOREACH r IN ARRAY ARRAY[
    'torture_owner', 'torture_other_owner', 'torture_app', 'torture_reader',
    'torture_grantor', 'torture_second_grantor', 'torture_super',
    'Weird "Role" $1', 'torture;role\with''every"thing', 'Größe Ünïcødé 漢字',
    'select', repeat('r', 63)]
  LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', r);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL; -- made by an earlier or a concurrent run
    END;
  END LOOP;
END
$roles$;

ALTER ROLE torture_super SUPERUSER;
GRANT torture_reader TO torture_app;
RESET client_min_messages;
