export {
  contains,
  formatAddress,
  overlap,
  parseAddress,
  parseCidr,
  type AddressBlock,
} from "../../api/ipv4.ts";
