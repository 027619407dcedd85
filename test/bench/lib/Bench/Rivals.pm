# What people use instead of fluxhooks to catch changes: a plpgsql trigger that keeps
# to_jsonb of the row in a table, and PgQ's trigger where it is installed.
package Bench::Rivals;

use strict;
use warnings;

use Bench;

sub new
{
	my ($class, $server) = @_;
	my $self = bless { server => $server, names => ['plpgsql'] }, $class;

	if ($server->sql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'pgq'"))
	{
		push @{ $self->{names} }, 'pgq';
	}
	else
	{
		progress('PgQ is not installed for this PostgreSQL: left out');
	}
	return $self;
}

sub names
{
	my ($self) = @_;

	return @{ $self->{names} };
}

sub titles
{
	return (plpgsql => 'plpgsql to_jsonb', pgq => 'pgq.jsontriga');
}

sub install
{
	my ($self, $database) = @_;

	$self->{server}->sql($database, <<'EOF');
CREATE TABLE change (id bigserial PRIMARY KEY, operation text, data jsonb);
CREATE FUNCTION keep_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO change (operation, data)
	VALUES (TG_OP, CASE TG_OP WHEN 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END);
	RETURN NULL;
END $$;
EOF
	$self->{server}->sql($database, "CREATE EXTENSION pgq;\nSELECT pgq.create_queue('bench')")
	  if grep { $_ eq 'pgq' } $self->names;
	return;
}

# Put the trigger of one of them on a table.
sub attach
{
	my ($self, $database, $name, $table) = @_;
	my $function = $name eq 'pgq' ? "pgq.jsontriga('bench')" : 'keep_change()';

	$self->{server}->sql($database, "CREATE TRIGGER rival AFTER INSERT OR UPDATE OR DELETE ON $table "
		  . "FOR EACH ROW EXECUTE FUNCTION $function");
	return;
}

sub detach
{
	my ($self, $database, $table) = @_;

	$self->{server}->sql($database, "DROP TRIGGER rival ON $table");
	return;
}

1;
