// The pages and their access rules.
import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  Outlet,
  redirect,
} from "@tanstack/react-router";

import { ProjectPage } from "../features/projects/project-page";
import { ProjectsPage } from "../features/projects/projects-page";
import { AccountPage } from "../features/session/account-page";
import { EnterPage } from "../features/session/enter-page";
import { sessionQuery } from "../features/session/session";
import { Frame, NotFound } from "./frame";

type Context = { cache: QueryClient };

const root = createRootRouteWithContext<Context>()({ component: Outlet, notFoundComponent: NotFound });

const guest = createRoute({
  getParentRoute: () => root,
  id: "guest",
  component: Outlet,
  beforeLoad: async ({ context }) => {
    if (await context.cache.ensureQueryData(sessionQuery)) throw redirect({ to: "/" });
  },
});

const member = createRoute({
  getParentRoute: () => root,
  id: "member",
  component: Frame,
  beforeLoad: async ({ context }) => {
    if (!(await context.cache.ensureQueryData(sessionQuery))) throw redirect({ to: "/login" });
  },
});

const login = createRoute({
  getParentRoute: () => guest,
  path: "/login",
  component: () => <EnterPage key="login" how="login" />,
});
const signup = createRoute({
  getParentRoute: () => guest,
  path: "/signup",
  component: () => <EnterPage key="signup" how="signup" />,
});
const projects = createRoute({ getParentRoute: () => member, path: "/", component: ProjectsPage });
const account = createRoute({ getParentRoute: () => member, path: "/account", component: AccountPage });
const project = createRoute({
  getParentRoute: () => member,
  path: "/projects/$id",
  component: function Page() {
    const { id } = project.useParams();
    return <ProjectPage key={id} id={id} />;
  },
});

const routeTree = root.addChildren([
  guest.addChildren([login, signup]),
  member.addChildren([projects, account, project]),
]);

export function makeRouter(cache: QueryClient) {
  return createRouter({ routeTree, context: { cache }, defaultPreload: false });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
