// Asks for what a part of the page shows, until it is told.
import { useEffect, useState } from "preact/hooks";
import { againMs } from "../store.js";

/** Ask for something of a site until it is told, as long as somebody looks: → why it is not yet, empty where it is. */
export function useTold(site, load) {
  const [problem, setProblem] = useState("");
  useEffect(() => {
    let later = 0;
    let looking = true;
    const go = () =>
      load().then(
        () => looking && setProblem(""),
        (error) => {
          if (!looking) return;
          setProblem(error.message);
          later = setTimeout(go, againMs(error));
        },
      );
    go();
    return () => {
      looking = false;
      clearTimeout(later);
    };
  }, [site]);
  return problem;
}
