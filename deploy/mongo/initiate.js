// Makes the mongod of docker-compose.yml a replica set of one member, and waits until it takes
// writes: Skyquay needs transactions, and only replica sets have them. Run it as often as you like.

const NOT_YET_INITIALIZED = 94;

try {
  rs.status();
} catch (error) {
  if (error.code !== NOT_YET_INITIALIZED) throw error;
  rs.initiate({ _id: "skyquay", members: [{ _id: 0, host: "mongo:27017" }] });
}

while (!db.hello().isWritablePrimary) sleep(100);
