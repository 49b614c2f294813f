<?php
// The herd's server as a LAMP application: the same commands and checks as the client port (docs/protocol.md).
//
//     POST /herd.php               the body is an IAMAT line; the reply is its AT line
//     GET  /herd.php?client=ID     the reply is the AT line of the client's latest report
//
// The reply to an invalid command is 422 with "? COPY", and for an unknown client 404. After these two Apache keeps the
// connection open; after 400 it would close it.

// [^\S\n] is white space without the newline, which would end the line. ++ is possessive: the pattern never goes back.
const IAMAT = '/^IAMAT [^\S\n]++ (\S{1,255}) [^\S\n]++
    (?=\S{1,64}\s) ([+-] 0*(?:[0-8]?\d(?:\.\d+)? | 90(?:\.0+)?)  [+-] 0*(?:(?:1[0-7]|\d)?\d(?:\.\d+)? | 180(?:\.0+)?))
    [^\S\n]++ (\d{1,10}(?:\.\d{1,9})?)$/xD';
const RADIUS = '/^(?=.*[1-9]) 0*(?:[0-4]?\d(?:\.\d+)? | 50(?:\.0+)?)$/xD';
const BOUND = '/^0*(?:[1-9] | 1\d | 20)$/xD';
const WHITE = " \t\r\n\f\v";

// One statement, so that two servers cannot overwrite a newer report with an older one. Assignments happen from left to
// right: the line must come before the stamp that it is compared with. A report of equal time changes nothing.
const REPORT = 'INSERT INTO reports (client, stamp, line) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE
    line = IF(VALUES(stamp) > stamp, VALUES(line), line), stamp = GREATEST(stamp, VALUES(stamp))';

// Persistent: each Apache process keeps its connection, because connecting for each request costs a third of the rate.
// Emulated prepares, PDO's default, send one message for a statement. An id may have any byte, so the character set is
// binary.
function query(string $statement, string ...$values): PDOStatement
{
    $database = new PDO('mysql:charset=binary;dbname=herd;unix_socket=' . getenv('HERD_DATABASE'), 'root', '',
        [PDO::ATTR_PERSISTENT => true]);
    $done = $database->prepare($statement);
    $done->execute($values);
    return $done;
}

function reply(int $status, string $line): never
{
    http_response_code($status);
    exit("$line\n");
}

if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $said = trim(file_get_contents('php://input'), WHITE);
    if (strlen($said) > 16384) {
        reply(422, '? ' . substr($said, 0, 1024));
    }
    // A float of this size has steps of a quarter of a microsecond.
    $now = microtime(true);
    if (!preg_match(IAMAT, $said, $found) || $found[3] - $now > 86400) {
        reply(422, "? $said");
    }
    [, $client, $location, $time] = $found;
    $line = sprintf('AT %s %+.9F %s %s %s', getenv('HERD_NAME'), $now - $time, $client, $location, $time);
    query(REPORT, $client, $time, $line);
    reply(200, $line);
}

// There are no places here, so the radius and the bound are only checked, and may be left out.
if (!preg_match(RADIUS, $_GET['radius'] ?? '50') || !preg_match(BOUND, $_GET['bound'] ?? '20')) {
    reply(422, '?');
}
$line = query('SELECT line FROM reports WHERE client = ?', $_GET['client'] ?? '')->fetchColumn();
$line === false ? reply(404, '?') : reply(200, $line);
