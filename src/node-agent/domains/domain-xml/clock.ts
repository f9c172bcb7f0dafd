import type { Configurator } from "./configurator.ts";
import { element } from "./xml.ts";

/**
 * UTC, and timer ticks that a busy node missed are made up for; no HPET, which
 * costs CPU time in idle guests. https://libvirt.org/formatdomain.html#time-keeping
 */
export const clock: Configurator = () => ({
  domain: [
    element(
      "clock",
      { offset: "utc" },
      element("timer", { name: "rtc", tickpolicy: "catchup" }),
      element("timer", { name: "pit", tickpolicy: "delay" }),
      element("timer", { name: "hpet", present: "no" }),
    ),
  ],
});
