// The decisions of bot/web/intake.py as an App of probot's. What it keeps, it keeps nowhere: it only counts.
const LABELS = ["ostler", "ostler:stop"];
const COMMAND = /^\/ostler(?:[ \t]+(approve|retry|budget|rollback|stop|status|help))?(?:[ \t].*)?\r?$/;
let kept = 0;

export default (app) => {
  const person = (payload) => payload.installation?.id && payload.sender.type === "User";
  app.on("issues.labeled", async ({ payload }) => {
    if (person(payload) && LABELS.includes(payload.label?.name)) kept += 1;
  });
  app.on("issue_comment.created", async ({ payload }) => {
    if (person(payload) && !payload.issue.pull_request && COMMAND.test(payload.comment.body.split("\n", 1)[0])) kept += 1;
  });
  app.on("check_run.requested_action", async ({ payload }) => {
    if (person(payload) && payload.check_run.app.id === Number(process.env.APP_ID)) kept += 1;
  });
  app.on("workflow_run.completed", async ({ payload }) => {
    if (payload.installation?.id) kept += 1;
  });
  app.on(["installation", "installation_repositories"], async () => {
    kept += 1;
  });
};
