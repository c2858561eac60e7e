// A subscriber: node watch.js FOLDER ADDRESS...
//
// It prints the id of each new event as a line, for ever, whatever happens to the gateways at these addresses. The
// folder keeps its place in the log and what it handled.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');

const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const PROTOS = path.join(__dirname, '..', '..', 'proto');
const SERVICE = 'kora/compliance/v1/compliance_service.proto';

// After these the same request can succeed. After any other a person must decide: events may be missing.
const OUTAGES = new Set([
  grpc.status.UNAVAILABLE,
  grpc.status.RESOURCE_EXHAUSTED,
  grpc.status.INTERNAL,
  grpc.status.UNKNOWN,
]);

// Pauses before coming back, in milliseconds: they grow until a message comes.
const SHORTEST_PAUSE = 100;
const LONGEST_PAUSE = 10_000;

const CHANNEL_OPTIONS = {
  // Finds out that a gateway is gone when nothing says so.
  'grpc.keepalive_time_ms': 20_000,
  // No variable of the environment sends the calls elsewhere.
  'grpc.enable_http_proxy': 0,
  // Channels to one address would share the pause after it was refused. The pauses are this program's.
  'grpc.use_local_subchannel_pool': 1,
};

// What was handled, by event id: a line each.
class Inbox {
  constructor(file) {
    this.file = fs.openSync(file, 'a+');
    this.ids = new Set(fs.readFileSync(this.file, 'utf8').split('\n'));
  }

  // Handles the events that are new: after a break some may come again.
  handle(events) {
    for (const { event_id: id } of events) {
      if (this.ids.has(id)) continue;
      this.ids.add(id);
      fs.writeSync(this.file, `${id}\n`);
      // Pipes are written at once, so that a line is out before the token is stored.
      process.stdout.write(`${id}\n`);
    }
  }
}

// The place in the log, as the newest token whose events were handled.
class Place {
  constructor(file) {
    this.file = file;
  }

  start() {
    if (!fs.existsSync(this.file)) return { position: 'START_POSITION_EARLIEST' };
    return { resume_token: fs.readFileSync(this.file, 'utf8') };
  }

  store(token) {
    fs.writeFileSync(`${this.file}.new`, token);
    fs.renameSync(`${this.file}.new`, this.file);
  }
}

function loadService() {
  const definition = protoLoader.loadSync(SERVICE, {
    includeDirs: [PROTOS],
    keepCase: true,
    longs: String,
    enums: String,
    defaults: true,
  });
  return grpc.loadPackageDefinition(definition).kora.compliance.v1.ComplianceService;
}

// Follows one stream until it ends.
async function follow(client, inbox, place, onMessage) {
  for await (const message of client.WatchEvents(place.start())) {
    inbox.handle(message.events);
    place.store(message.resume_token);
    onMessage();
  }
}

async function watch(folder, addresses) {
  const Service = loadService();
  const inbox = new Inbox(path.join(folder, 'handled'));
  const place = new Place(path.join(folder, 'resume-token'));
  let pause = SHORTEST_PAUSE;
  for (let attempt = 0; ; attempt += 1) {
    const address = addresses[attempt % addresses.length];
    const client = new Service(address, grpc.credentials.createInsecure(), CHANNEL_OPTIONS);
    let received = 0;
    try {
      await follow(client, inbox, place, () => {
        received += 1;
        pause = SHORTEST_PAUSE;
      });
      console.error(`${address}: OK after ${received} messages`);
    } catch (error) {
      if (!OUTAGES.has(error.code)) throw error;
      console.error(`${address}: ${grpc.status[error.code]} after ${received} messages`);
    } finally {
      client.close();
    }
    await sleep(pause * (0.5 + Math.random() / 2));
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }
}

const [folder, ...addresses] = process.argv.slice(2);
watch(folder, addresses);
