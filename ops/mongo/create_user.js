// Creates the user of the platform. MongoDB's image runs this file once, in a new database.
db.getSiblingDB("coursebus").createUser({
  user: "coursebus",
  pwd: process.env.MONGO_PASSWORD,
  roles: [{ role: "readWrite", db: "coursebus" }],
});
